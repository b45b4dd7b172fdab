/** Phi 1, 1.5 and 2 (arXiv:2306.11644, arXiv:2309.05463): parallel sublayers after one LayerNorm, and biases everywhere, even in the head. */

import type { HeadNorm } from "../blueprint.js";
import { readActivation } from "../config/activation.js";
import { readRope } from "../config/rope.js";
import { readSizes } from "../config/sizes.js";
import { readWindows } from "../config/windows.js";
import type { Family } from "./family.js";
import {
  attention,
  embedding,
  layerNorm,
  layerPaths,
  linear,
  llamaNames,
  parallelLayer,
  plainFeedForward,
  readHead,
  separateInput,
  sharedHeadNorm,
  sublayer,
} from "./parts.js";

export const phi: Family = {
  name: "phi",
  architectures: ["PhiForCausalLM", "PhiModel"],
  reads: ["qk_layernorm"],
  tokens: { eosIds: [2], bosId: 1, padId: null },
  names: llamaNames,
  read(fields) {
    const sizes = readSizes(fields, {
      hiddenSize: 2048,
      intermediateSize: 8192,
      layerCount: 24,
      headCount: 32,
      kvHeadCount: null,
      headDim: null,
      vocabSize: 51200,
      maxPositions: 2048,
    });
    const { hiddenSize, headCount, headDim } = sizes;
    const { types } = readWindows(fields, { layers: "never", slidingWindow: null }, sizes.layerCount);
    const epsilon = fields.positive("layer_norm_eps", 1e-5);
    const activation = readActivation(fields, "hidden_act", "gelu_new");
    const rope = readRope(fields, { ...sizes, partialFactor: 0.5 }, types);
    const hasHeadNorms = fields.boolean("qk_layernorm", false);
    const headNorm = (path: string): HeadNorm | null =>
      hasHeadNorms ? sharedHeadNorm(layerNorm(path, headDim, epsilon)) : null;
    const layers = layerPaths(sizes).map((path) => {
      const norm = layerNorm(`${path}.input_layernorm`, hiddenSize, epsilon);
      const body = attention(sizes, {
        input: separateInput(`${path}.self_attn`, sizes, true),
        queryNorm: headNorm(`${path}.self_attn.q_layernorm`),
        keyNorm: headNorm(`${path}.self_attn.k_layernorm`),
        output: linear(`${path}.self_attn.dense`, headCount * headDim, hiddenSize, true),
      });
      const feedForward = plainFeedForward([`${path}.mlp.fc1`, `${path}.mlp.fc2`], sizes, activation, true);
      return parallelLayer(path, sublayer(body, norm), sublayer(feedForward, norm));
    });
    const table = embedding();
    return {
      ...sizes,
      embedding: table,
      ropes: [rope],
      layers,
      finalNorm: layerNorm("model.final_layernorm", hiddenSize, epsilon),
      head: readHead(fields, sizes, table, { tied: false, bias: true }),
    };
  },
};
