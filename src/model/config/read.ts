/**
 * Reads a config.json, in either spelling, into a DecoderConfig. Defaults are those of transformers, and whatever the decoder does not
 * implement is refused by name. Reads no files.
 */

import { isObject, type Json, shown } from "../../base/json.js";
import type { Family, FamilyDecoder } from "../families/family.js";
import { detectFamily, namesClassifier } from "../families/registry.js";
import type { DecoderConfig } from "../types.js";
import { ConfigFields, Faults } from "./fields.js";
import { refuseForeignKeys } from "./refusals.js";
import { readTokenIds } from "./tokens.js";

/**
 * Reads a parsed config.json and, if present, generation_config.json. Throws one LorikeetError with every fault: `model_unsupported` if
 * something is not implemented, else `model_invalid`.
 */
export function readDecoderConfig(json: unknown, generationConfig: unknown = {}): DecoderConfig {
  const family = detectFamily(json);
  const faults = new Faults();
  if (!isObject(generationConfig)) {
    faults.invalid(`generation_config.json holds ${shown(generationConfig)}, but must hold a JSON object`);
  }
  const { where, object } = decoderPart(isObject(json) ? json : {}, family, faults);
  const fields = new ConfigFields(object, where, faults, family.synonyms);
  checkSynonyms(object, family, faults);
  const generation = new ConfigFields(
    isObject(generationConfig) ? generationConfig : {},
    "generation_config.json",
    faults,
  );
  refuseForeignKeys(fields, family);
  const decoder = withLongestText(family.read(fields));
  const config: DecoderConfig = {
    family: family.name,
    ...(isObject(json) && namesClassifier(json, family) ? asClassifier(decoder, json) : decoder),
    ...readTokenIds(fields, generation, family.tokens),
    torchDtype: fields.string("dtype", fields.string("torch_dtype", "float32")).replace(/^torch\./, ""),
  };
  faults.throwIfAny(`This ${family.name} checkpoint cannot be served`);
  return config;
}

/** A classifier has labels in place of a head. transformers counts two where config.json names none. */
function asClassifier(
  decoder: FamilyDecoder,
  { id2label: labels }: Json,
): FamilyDecoder & Pick<DecoderConfig, "classifier"> {
  const { head, embedding } = decoder;
  const outFeatures = isObject(labels) ? Object.keys(labels).length : 2;
  const tied = { ...head, tied: true, bias: false, scale: 1, softcap: null };
  return {
    ...decoder,
    head: { ...tied, linear: { ...head.linear, path: embedding.path, bias: false } },
    classifier: { outFeatures },
  };
}

/** A dynamic rope extends the trained context by its factor. */
function withLongestText(decoder: FamilyDecoder): FamilyDecoder {
  const lengths = decoder.ropes.flatMap(({ scaling }) =>
    scaling.kind === "dynamic" ? [Math.floor(scaling.originalMaxPositions * scaling.factor)] : [],
  );
  return { ...decoder, maxPositions: Math.max(decoder.maxPositions, ...lengths) };
}

const outerKeys = ["bos_token_id", "eos_token_id", "pad_token_id", "dtype", "torch_dtype", "quantization_config"];

/** The decoder's own config, which may be nested in that of several models. */
function decoderPart(json: Json, { textConfig }: Family, faults: Faults): { where: string; object: Json } {
  if (textConfig === undefined) return { where: "config.json", object: json };
  const { key, type } = textConfig;
  const where = `config.json ${key}`;
  const inner = json[key] ?? {};
  if (!isObject(inner)) faults.invalid(`${where} is ${shown(inner)}, but must be an object`);
  const found = isObject(inner) ? (inner.model_type ?? type) : type;
  if (found !== type) faults.unsupported(`${where} model_type is ${shown(found)}, but ${type} is implemented`);
  const outer = outerKeys.flatMap((key) =>
    json[key] === undefined || json[key] === null ? [] : [[key, json[key]] as const],
  );
  return {
    where,
    object: {
      ...(isObject(inner) ? inner : {}),
      tie_word_embeddings: json.tie_word_embeddings,
      ...Object.fromEntries(outer),
    },
  };
}

/** Two spellings of a key must agree, unless the family's spelling overrides the common one. */
function checkSynonyms(json: Json, { synonyms = {}, overridden = [] }: Family, faults: Faults): void {
  for (const [common, own] of Object.entries(synonyms)) {
    if (overridden.includes(common)) continue;
    const values = [own, common].map((key) => json[key]).filter((value) => value !== undefined);
    if (values.length === 2 && values[0] !== values[1]) {
      faults.invalid(`config.json ${own} is ${shown(values[0])}, but its ${common} is ${shown(values[1])}`);
    }
  }
}
