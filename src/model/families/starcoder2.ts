/** StarCoder 2 (arXiv:2402.19173): Llama's layers with LayerNorms, plain feed-forward layers and biases. */

import { at } from "../../base/list.js";
import { readActivation } from "../config/activation.js";
import { readRope } from "../config/rope.js";
import { readSizes } from "../config/sizes.js";
import { readWindows } from "../config/windows.js";
import type { Family } from "./family.js";
import {
  embedding,
  layerNorm,
  layerPaths,
  llamaNames,
  plainFeedForward,
  preNormLayer,
  readHead,
  separateAttention,
} from "./parts.js";

export const starcoder2: Family = {
  name: "starcoder2",
  architectures: ["Starcoder2ForCausalLM", "Starcoder2Model"],
  reads: ["sliding_window"],
  // transformers ignores both keys, so a checkpoint with another value was not written for it.
  refuses: [
    {
      keys: ["mlp_type"],
      isHarmless: (value) => value === "default",
      why: "only plain feed-forward layers are implemented",
    },
    { keys: ["norm_type"], isHarmless: (value) => value === "layer_norm", why: "only layer_norm is implemented" },
  ],
  tokens: { eosIds: [50256], bosId: 50256, padId: null },
  names: llamaNames,
  read(fields) {
    const sizes = readSizes(fields, {
      hiddenSize: 3072,
      intermediateSize: 12288,
      layerCount: 30,
      headCount: 24,
      kvHeadCount: 2,
      headDim: null,
      vocabSize: 49152,
      maxPositions: 4096,
    });
    const { types, windows } = readWindows(fields, { layers: "every", slidingWindow: null }, sizes.layerCount);
    const epsilon = fields.positive("norm_epsilon", 1e-5);
    const activation = readActivation(fields, "hidden_act", "gelu_pytorch_tanh");
    const bias = fields.boolean("use_bias", true);
    const rope = readRope(fields, sizes, types);
    const norm = (path: string) => layerNorm(path, sizes.hiddenSize, epsilon);
    const layers = layerPaths(sizes).map((path, i) =>
      preNormLayer(
        path,
        separateAttention(`${path}.self_attn`, sizes, {
          inputBias: bias,
          outputBias: bias,
          window: at(windows, i),
        }),
        plainFeedForward([`${path}.mlp.c_fc`, `${path}.mlp.c_proj`], sizes, activation, bias),
        norm,
      ),
    );
    const table = embedding();
    return {
      ...sizes,
      embedding: table,
      ropes: [rope],
      layers,
      finalNorm: norm("model.norm"),
      head: readHead(fields, sizes, table, { tied: true }),
    };
  },
};
