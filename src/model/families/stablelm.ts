/** StableLM (arXiv:2402.17834): Llama's layers with LayerNorms and partial rotation; some models have parallel sublayers, some a norm per head. */

import type { HeadNorm, Norm } from "../blueprint.js";
import { readActivation } from "../config/activation.js";
import { readRope } from "../config/rope.js";
import { readSizes } from "../config/sizes.js";
import { readWindows } from "../config/windows.js";
import type { Family } from "./family.js";
import {
  embedding,
  gatedFeedForward,
  layerNorm,
  layerPaths,
  llamaNames,
  parallelLayer,
  preNormLayer,
  readHead,
  refuseHeadDim,
  separateAttention,
  sublayer,
} from "./parts.js";

export const stablelm: Family = {
  name: "stablelm",
  architectures: ["StableLmForCausalLM", "StableLmModel"],
  reads: ["use_parallel_residual", "qk_layernorm"],
  tokens: { eosIds: [0], bosId: 0, padId: null },
  names: llamaNames,
  read(fields) {
    const sizes = readSizes(fields, {
      hiddenSize: 2560,
      intermediateSize: 6912,
      layerCount: 32,
      headCount: 32,
      kvHeadCount: 32,
      headDim: "none",
      vocabSize: 50304,
      maxPositions: 4096,
    });
    refuseHeadDim(fields, sizes);
    const { types } = readWindows(fields, { layers: "never", slidingWindow: null }, sizes.layerCount);
    const epsilon = fields.positive("layer_norm_eps", 1e-5);
    const activation = readActivation(fields, "hidden_act", "silu");
    const rope = readRope(fields, { ...sizes, partialFactor: 0.25 }, types);
    const inputBias = fields.boolean("use_qkv_bias", false);
    const isParallel = fields.boolean("use_parallel_residual", false);
    const hasHeadNorms = fields.boolean("qk_layernorm", false);
    const norm = (path: string): Norm => layerNorm(path, sizes.hiddenSize, epsilon);
    const headNorms = (path: string, heads: number): HeadNorm | null => {
      if (!hasHeadNorms) return null;
      const own = (_: unknown, head: number): Norm => ({
        ...layerNorm(`${path}.norms.${head}`, sizes.headDim, epsilon),
        bias: false,
      });
      return { scope: "each", norms: Array.from({ length: heads }, own) };
    };
    const layers = layerPaths(sizes).map((path) => {
      const attention = separateAttention(`${path}.self_attn`, sizes, {
        inputBias,
        outputBias: false,
        queryNorm: headNorms(`${path}.self_attn.q_layernorm`, sizes.headCount),
        keyNorm: headNorms(`${path}.self_attn.k_layernorm`, sizes.kvHeadCount),
      });
      const feedForward = gatedFeedForward(`${path}.mlp`, sizes, activation, false);
      if (!isParallel) return preNormLayer(path, attention, feedForward, norm);
      const shared = norm(`${path}.input_layernorm`);
      return parallelLayer(path, sublayer(attention, shared), sublayer(feedForward, shared));
    });
    const table = embedding();
    return {
      ...sizes,
      embedding: table,
      ropes: [rope],
      layers,
      finalNorm: norm("model.norm"),
      head: readHead(fields, sizes, table, { tied: false }),
    };
  },
};
