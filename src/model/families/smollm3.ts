/** SmolLM 3 (Hugging Face, 2025): Llama's layers, every fourth without positions. */

import { shown } from "../../base/json.js";
import type { ConfigFields } from "../config/fields.js";
import type { SizeDefaults } from "../config/sizes.js";
import type { Family } from "./family.js";
import { readLlamaShape } from "./llama.js";
import { llamaNames } from "./parts.js";

const defaults: SizeDefaults = {
  hiddenSize: 2048,
  intermediateSize: 11008,
  layerCount: 36,
  headCount: 16,
  kvHeadCount: 4,
  headDim: null,
  vocabSize: 128256,
  maxPositions: 32768,
};

export const smollm3: Family = {
  name: "smollm3",
  architectures: ["SmolLM3ForCausalLM", "SmolLM3Model"],
  reads: ["attention_bias", "mlp_bias", "sliding_window", "no_rope_layers", "no_rope_layer_interval"],
  tokens: { eosIds: [128001], bosId: 128000, padId: 128004 },
  names: llamaNames,
  read(fields) {
    const bias = fields.boolean("attention_bias", false);
    const hasRope = readRopeLayers(fields);
    return readLlamaShape(fields, {
      sizes: defaults,
      windows: { layers: (layer) => !hasRope(layer), slidingWindow: null, isSwitched: true },
      inputBias: bias,
      outputBias: bias,
      feedForwardBias: fields.boolean("mlp_bias", false),
      ropeTheta: 2e6,
      hasRope,
      tiedHead: true,
    });
  },
};

/** Which layers have rotary positions: those marked 1 in `no_rope_layers`, or else all but every `no_rope_layer_interval`-th. */
function readRopeLayers(fields: ConfigFields): (layer: number) => boolean {
  const key = "no_rope_layers";
  const interval = fields.integer("no_rope_layer_interval", 4);
  if (!fields.has(key)) return (layer) => (layer + 1) % interval !== 0;
  const marks = fields.raw(key);
  const layerCount = fields.integer("num_hidden_layers", defaults.layerCount);
  const isWhole = Array.isArray(marks) && marks.length >= layerCount && marks.every((mark) => mark === 0 || mark === 1);
  if (!isWhole)
    fields.faults.invalid(`${fields.name(key)} is ${shown(marks)}, but must list 0 or 1 for ${layerCount} layers`);
  return (layer) => !Array.isArray(marks) || marks[layer] === 1;
}
