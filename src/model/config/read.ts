/**
 * A config.json, in either of its spellings, read into a DecoderConfig: defaults are those of transformers, and whatever
 * the decoder does not implement is refused by name. Reads no file.
 */

import { isObject, type Json, shown } from "../../base/json.js";
import type { DecoderConfig, Family } from "../types.js";
import { detectFamily, type FamilyTraits, families } from "./families.js";
import { ConfigFields, Faults } from "./fields.js";
import { refuseForeignKeys } from "./refusals.js";
import { readRope } from "./rope.js";
import { readTokenIds } from "./tokens.js";
import { readWindows } from "./windows.js";

const maxLayers = 4096;

/** Names of an activation in configs, and the function each stands for. */
const activations: ReadonlyMap<string, DecoderConfig["activation"]> = new Map([
  ["silu", "silu"],
  ["swish", "silu"],
  ["gelu", "gelu"],
  ["gelu_python", "gelu"],
  ["gelu_new", "gelu_tanh"],
  ["gelu_fast", "gelu_tanh"],
  ["gelu_accurate", "gelu_tanh"],
  ["gelu_pytorch_tanh", "gelu_tanh"],
  ["gelu_python_tanh", "gelu_tanh"],
]);

/**
 * Reads a parsed config.json, and generation_config.json where there is one. Throws one LorikeetError with every fault:
 * `model_unsupported` when something is not implemented, else `model_invalid`.
 */
export function readDecoderConfig(json: unknown, generationConfig: unknown = {}): DecoderConfig {
  const family = detectFamily(json);
  const faults = new Faults();
  if (!isObject(generationConfig)) {
    faults.invalid(`generation_config.json holds ${shown(generationConfig)}, but must hold a JSON object`);
  }
  const object = isObject(json) ? json : {};
  const fields = new ConfigFields(object, "config.json", faults, family === "gpt2" ? gpt2Synonyms : {});
  if (family === "gpt2") checkSynonyms(object, faults);
  const generation = new ConfigFields(
    isObject(generationConfig) ? generationConfig : {},
    "generation_config.json",
    faults,
  );
  refuseForeignKeys(fields, family);
  const config = readFields(family, fields, generation);
  faults.throwIfAny(`This ${family} checkpoint cannot be served`);
  return config;
}

function readFields(family: Family, fields: ConfigFields, generation: ConfigFields): DecoderConfig {
  const traits = families[family];
  const sizes = readSizes(family, fields, traits);
  const { types, windows } = readWindows(fields, traits, sizes.layerCount);
  const { headDim, maxPositions, hiddenSize } = sizes;
  if (family === "gpt2") checkUnrotatedHead(fields, headDim);
  const isGemma = family === "gemma2";
  const scaled = family !== "gpt2" || fields.boolean("scale_attn_weights", true);
  const queryScalar = isGemma ? fields.positive("query_pre_attn_scalar", 256) : headDim;
  return {
    family,
    ...sizes,
    norm: {
      kind: family === "gpt2" ? "layer" : "rms",
      epsilon: fields.positive(family === "gpt2" ? "layer_norm_epsilon" : "rms_norm_eps", traits.epsilon),
    },
    activation: readActivation(fields, traits),
    rope: family === "gpt2" ? null : readRope({ fields, traits, headDim, maxPositions }, types),
    attentionScale: scaled ? 1 / Math.sqrt(queryScalar) : 1,
    attentionSoftcap: isGemma ? fields.positiveOrNull("attn_logit_softcapping", 50) : null,
    windows,
    qkNorm: family === "qwen3",
    bias: readBias(fields, traits),
    gemmaNorms: isGemma,
    embeddingScale: isGemma ? Math.sqrt(hiddenSize) : 1,
    finalSoftcap: isGemma ? fields.positiveOrNull("final_logit_softcapping", 30) : null,
    tiedHead: fields.boolean("tie_word_embeddings", traits.tiedHead),
    ...readTokenIds(fields, generation, traits),
    torchDtype: fields.string("dtype", fields.string("torch_dtype", "float32")).replace(/^torch\./, ""),
  };
}

function readSizes(family: Family, fields: ConfigFields, traits: FamilyTraits) {
  const hiddenSize = fields.integer("hidden_size", traits.hiddenSize);
  const headCount = fields.integer("num_attention_heads", traits.headCount);
  const kvHeadCount =
    family === "gpt2" // which has no such key
      ? headCount
      : fields.integerOrNull("num_key_value_heads", traits.kvHeadCount ?? headCount, headCount);
  if (headCount % kvHeadCount !== 0) {
    fields.faults.invalid(
      `${fields.name("num_key_value_heads")} is ${kvHeadCount}, but must divide num_attention_heads, ${headCount}`,
    );
  }
  const inner = traits.intermediateSize;
  const intermediateSize =
    inner === null
      ? fields.integerOrNull("intermediate_size", 4 * hiddenSize, 4 * hiddenSize)
      : fields.integer("intermediate_size", inner);
  return {
    hiddenSize,
    intermediateSize,
    layerCount: fields.integer("num_hidden_layers", traits.layerCount, { max: maxLayers }),
    headCount,
    kvHeadCount,
    headDim: readHeadDim(family, fields, traits, hiddenSize, headCount),
    vocabSize: fields.integer("vocab_size", traits.vocabSize),
    maxPositions: fields.integer("max_position_embeddings", traits.maxPositions),
  };
}

function readHeadDim(
  family: Family,
  fields: ConfigFields,
  traits: FamilyTraits,
  hiddenSize: number,
  headCount: number,
): number {
  const isStated = fields.raw("head_dim") !== undefined && (fields.has("head_dim") || traits.headDim !== null);
  if (isStated && family !== "gpt2") return fields.integer("head_dim", traits.headDim ?? 1);
  if (traits.headDim !== null) return traits.headDim;
  if (hiddenSize % headCount === 0) return hiddenSize / headCount;
  fields.faults.invalid(
    `${fields.name("hidden_size")} is ${hiddenSize}, but must be a multiple of num_attention_heads, ${headCount}`,
  );
  return 64;
}

/** Without rotary positions, ONNX Runtime's GroupQueryAttention takes heads that are a multiple of 8. */
function checkUnrotatedHead(fields: ConfigFields, headDim: number): void {
  if (headDim % 8 !== 0) fields.faults.unsupported(`heads of ${headDim} are not implemented; multiples of 8 are`);
}

function readActivation(fields: ConfigFields, traits: FamilyTraits): DecoderConfig["activation"] {
  // gemma2 has its own key; an old `hidden_act` beside nothing must at least mean the same.
  const key = fields.has(traits.activationKey) ? traits.activationKey : "hidden_act";
  const name = fields.string(key, traits.activation);
  const activation = activations.get(name);
  const isOwn = key === traits.activationKey || activation === activations.get(traits.activation);
  if (activation && isOwn) return activation;
  if (activation) {
    fields.faults.unsupported(`${fields.name(key)} is ${shown(name)}, but this family reads ${traits.activationKey}`);
    return activation;
  }
  fields.faults.unsupported(
    `${fields.name(key)} is ${shown(name)}, which is not implemented; ${[...activations.keys()].join(", ")} are`,
  );
  return "silu";
}

function readBias(fields: ConfigFields, traits: FamilyTraits): DecoderConfig["bias"] {
  const attention =
    traits.attentionBias === "always" || (traits.attentionBias === "option" && fields.boolean("attention_bias", false));
  return {
    qkv: attention || traits.attentionBias === "qkv",
    o: attention,
    mlp: traits.mlpBias === "always" || (traits.mlpBias === "option" && fields.boolean("mlp_bias", false)),
  };
}

/** GPT-2's own names of what the other families call otherwise; transformers takes either. */
const gpt2Synonyms: Readonly<Record<string, string>> = {
  hidden_size: "n_embd",
  num_hidden_layers: "n_layer",
  num_attention_heads: "n_head",
  max_position_embeddings: "n_positions",
  intermediate_size: "n_inner",
};

function checkSynonyms(json: Json, faults: Faults): void {
  for (const [common, own] of Object.entries(gpt2Synonyms)) {
    const values = [own, common].map((key) => json[key]).filter((value) => value !== undefined);
    if (values.length === 2 && values[0] !== values[1]) {
      faults.invalid(`config.json ${own} is ${shown(values[0])}, but its ${common} is ${shown(values[1])}`);
    }
  }
}
