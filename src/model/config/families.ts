/**
 * What the families differ in: how their config.json spells things and what it means when a key is missing. The defaults
 * are those of the configuration classes of transformers 5.18; reading and checking is done elsewhere.
 */

import { LorikeetError } from "../../base/errors.js";
import { isObject, shown } from "../../base/json.js";
import type { Family } from "../types.js";

export interface FamilyTraits {
  /** The decoder with its head, then the bare decoder, which is enough when the head is tied. */
  readonly architectures: readonly [string, string];
  readonly hiddenSize: number;
  /** null: four times the hidden size. */
  readonly intermediateSize: number | null;
  readonly layerCount: number;
  readonly headCount: number;
  /** null: as many as query heads. */
  readonly kvHeadCount: number | null;
  /** null: the hidden size divided by the heads. */
  readonly headDim: number | null;
  readonly vocabSize: number;
  readonly maxPositions: number;
  readonly epsilon: number;
  readonly activationKey: "hidden_act" | "hidden_activation" | "activation_function";
  readonly activation: string;
  readonly tiedHead: boolean;
  readonly eosIds: readonly number[];
  readonly bosId: number | null;
  readonly padId: number | null;
  /** Biases of q, k and v; `option`: as `attention_bias` says, then for the output projection too. */
  readonly attentionBias: "never" | "qkv" | "option" | "always";
  readonly mlpBias: "never" | "option" | "always";
  /** Where sliding windows lie when `layer_types` does not say it. */
  readonly windows: "never" | "every" | "late" | "alternate";
  readonly slidingWindow: number | null;
  readonly ropeTypes: readonly ("default" | "linear" | "llama3")[];
}

const llama: FamilyTraits = {
  architectures: ["LlamaForCausalLM", "LlamaModel"],
  hiddenSize: 4096,
  intermediateSize: 11008,
  layerCount: 32,
  headCount: 32,
  kvHeadCount: null,
  headDim: null,
  vocabSize: 32000,
  maxPositions: 2048,
  epsilon: 1e-6,
  activationKey: "hidden_act",
  activation: "silu",
  tiedHead: false,
  eosIds: [2],
  bosId: 1,
  padId: null,
  attentionBias: "option",
  mlpBias: "option",
  windows: "never",
  slidingWindow: null,
  ropeTypes: ["default", "linear", "llama3"],
};

const mistral: FamilyTraits = {
  ...llama,
  architectures: ["MistralForCausalLM", "MistralModel"],
  intermediateSize: 14336,
  kvHeadCount: 8,
  maxPositions: 131072,
  attentionBias: "never",
  mlpBias: "never",
  windows: "every",
  slidingWindow: 4096,
};

const qwen2: FamilyTraits = {
  ...llama,
  architectures: ["Qwen2ForCausalLM", "Qwen2Model"],
  intermediateSize: 22016,
  kvHeadCount: 32,
  vocabSize: 151936,
  maxPositions: 32768,
  eosIds: [],
  bosId: null,
  attentionBias: "qkv",
  mlpBias: "never",
  windows: "late",
  slidingWindow: 4096,
};

const qwen3: FamilyTraits = {
  ...qwen2,
  architectures: ["Qwen3ForCausalLM", "Qwen3Model"],
  headDim: 128,
  attentionBias: "option",
};

const gemma2: FamilyTraits = {
  ...llama,
  architectures: ["Gemma2ForCausalLM", "Gemma2Model"],
  hiddenSize: 2304,
  intermediateSize: 9216,
  layerCount: 26,
  headCount: 8,
  kvHeadCount: 4,
  headDim: 256,
  vocabSize: 256000,
  maxPositions: 8192,
  activationKey: "hidden_activation",
  activation: "gelu_pytorch_tanh",
  tiedHead: true,
  eosIds: [1],
  bosId: 2,
  padId: 0,
  mlpBias: "never",
  windows: "alternate",
  slidingWindow: 4096,
};

const phi3: FamilyTraits = {
  ...llama,
  architectures: ["Phi3ForCausalLM", "Phi3Model"],
  hiddenSize: 3072,
  intermediateSize: 8192,
  vocabSize: 32064,
  maxPositions: 4096,
  epsilon: 1e-5,
  eosIds: [32000],
  padId: 32000,
  attentionBias: "never",
  mlpBias: "never",
  windows: "every",
  ropeTypes: ["default"],
};

const gpt2: FamilyTraits = {
  ...llama,
  architectures: ["GPT2LMHeadModel", "GPT2Model"],
  hiddenSize: 768,
  intermediateSize: null,
  layerCount: 12,
  headCount: 12,
  vocabSize: 50257,
  maxPositions: 1024,
  epsilon: 1e-5,
  activationKey: "activation_function",
  activation: "gelu_new",
  tiedHead: true,
  eosIds: [50256],
  bosId: 50256,
  attentionBias: "always",
  mlpBias: "always",
  ropeTypes: [],
};

export const families: Readonly<Record<Family, FamilyTraits>> = { llama, mistral, qwen2, qwen3, gemma2, phi3, gpt2 };

export function isFamily(value: unknown): value is Family {
  return typeof value === "string" && Object.hasOwn(families, value);
}

const familyNames: readonly Family[] = Object.keys(families).filter(isFamily);
const supported = familyNames.map((family) => `${families[family].architectures[0]} (${family})`).join(", ");

/**
 * The family that `model_type` and `architectures` name. Throws `model_unsupported` with the list of what is supported
 * when they name none or do not agree, `model_invalid` when `config` is no object.
 */
export function detectFamily(config: unknown): Family {
  if (!isObject(config)) {
    throw new LorikeetError("model_invalid", `config.json holds ${shown(config)}, but must hold a JSON object.`);
  }
  const { model_type: type, architectures } = config;
  const named: unknown[] = Array.isArray(architectures) ? architectures : [];
  const fits = (family: Family) => named.some((name) => families[family].architectures.some((own) => own === name));
  const family = type === undefined || type === null ? familyNames.find(fits) : isFamily(type) ? type : undefined;
  if (family && (named.length === 0 || fits(family))) return family;
  throw new LorikeetError(
    "model_unsupported",
    `config.json names the architecture ${shown(named.length > 0 ? named : null)} with model_type ${shown(type ?? null)}, ` +
      `which is not supported; supported are ${supported}.`,
    { param: "architectures", found: { model_type: type, architectures }, allowed: supported },
  );
}
