/** GPT-NeoX (arXiv:2204.06745) and Pythia (arXiv:2304.01373): parallel or sequential sublayers, with q, k and v packed head by head. */

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
  parallelLayer,
  plainFeedForward,
  readHead,
  refuseHeadDim,
  sequentialLayer,
  sublayer,
} from "./parts.js";

const headPath = "embed_out";

export const gptNeox: Family = {
  name: "gpt_neox",
  architectures: ["GPTNeoXForCausalLM", "GPTNeoXModel"],
  synonyms: { partial_rotary_factor: "rotary_pct", rope_theta: "rotary_emb_base" },
  reads: ["attention_bias", "use_parallel_residual", "rotary_pct"],
  tokens: { eosIds: [2], bosId: 0, padId: null },
  names: {
    prefix: "gpt_neox.",
    head: headPath,
    spellings: [["lm_head.", `${headPath}.`]],
    buffers: /^gpt_neox\.layers\.\d+\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)$/,
  },
  read(fields) {
    const sizes = readSizes(fields, {
      hiddenSize: 6144,
      intermediateSize: 24576,
      layerCount: 44,
      headCount: 64,
      kvHeadCount: "none",
      headDim: "none",
      vocabSize: 50432,
      maxPositions: 2048,
    });
    refuseHeadDim(fields, sizes);
    const { hiddenSize } = sizes;
    const { types } = readWindows(fields, { layers: "never", slidingWindow: null }, sizes.layerCount);
    const epsilon = fields.positive("layer_norm_eps", 1e-5);
    const activation = readActivation(fields, "hidden_act", "gelu");
    const rope = readRope(fields, { ...sizes, partialFactor: 0.25 }, types);
    const bias = fields.boolean("attention_bias", true);
    const isParallel = fields.boolean("use_parallel_residual", true);
    const norm = (path: string) => layerNorm(path, hiddenSize, epsilon);
    const layers = layerPaths(sizes, "gpt_neox.layers").map((path) => {
      const body = attention(sizes, {
        input: {
          kind: "packed",
          order: "head",
          qkv: linear(`${path}.attention.query_key_value`, hiddenSize, 3 * hiddenSize, bias),
        },
        output: linear(`${path}.attention.dense`, hiddenSize, hiddenSize, bias),
      });
      const mlp = `${path}.mlp`;
      const feedForward = plainFeedForward([`${mlp}.dense_h_to_4h`, `${mlp}.dense_4h_to_h`], sizes, activation, true);
      return (isParallel ? parallelLayer : sequentialLayer)(
        path,
        sublayer(body, norm(`${path}.input_layernorm`)),
        sublayer(feedForward, norm(`${path}.post_attention_layernorm`)),
      );
    });
    const table = embedding("gpt_neox.embed_in");
    return {
      ...sizes,
      embedding: table,
      ropes: [rope],
      layers,
      finalNorm: norm("gpt_neox.final_layer_norm"),
      head: readHead(fields, sizes, table, { tied: false, path: headPath }),
    };
  },
};
