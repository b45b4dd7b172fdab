/** The supported families of decoders, and how a config names one. */

import { assert, LorikeetError } from "../../base/errors.js";
import { isObject, type Json, shown } from "../../base/json.js";
import type { Family } from "./family.js";
import { gemma2 } from "./gemma2.js";
import { gemma3, gemma3Text } from "./gemma3.js";
import { gptNeox } from "./gpt-neox.js";
import { gpt2 } from "./gpt2.js";
import { granite } from "./granite.js";
import { granitemoehybrid } from "./granitemoehybrid.js";
import { lfm2 } from "./lfm2.js";
import { llama } from "./llama.js";
import { ministral3 } from "./ministral3.js";
import { mistral } from "./mistral.js";
import { olmo2 } from "./olmo2.js";
import { olmo3 } from "./olmo3.js";
import { phi } from "./phi.js";
import { phi3 } from "./phi3.js";
import { qwen2 } from "./qwen2.js";
import { qwen3 } from "./qwen3.js";
import { qwen35, qwen35Text } from "./qwen3-5.js";
import { smollm3 } from "./smollm3.js";
import { stablelm } from "./stablelm.js";
import { starcoder2 } from "./starcoder2.js";

export const families: readonly Family[] = [
  llama,
  mistral,
  ministral3,
  qwen2,
  qwen3,
  gemma2,
  phi3,
  gpt2,
  granite,
  granitemoehybrid,
  olmo2,
  olmo3,
  starcoder2,
  lfm2,
  stablelm,
  gptNeox,
  phi,
  smollm3,
  gemma3Text,
  gemma3,
  qwen35Text,
  qwen35,
];

const byName = new Map(families.map((family) => [family.name, family]));
const supported = families.map(({ architectures: [named], name }) => `${named} (${name})`).join(", ");

/** transformers' class of a decoder with a classification head in place of its head. */
const classifierOf = ({ architectures: [, bare] }: Family): string =>
  bare.replace(/Model$/, "ForSequenceClassification");

/** The same for the name of a supported family. */
export const classifierNamed = (family: string): string => {
  const known = byName.get(family);
  assert(known, `${family} is a family`);
  return classifierOf(known);
};

/** Whether a config.json names the classifier of a family. */
export const namesClassifier = ({ architectures }: Json, family: Family): boolean =>
  Array.isArray(architectures) && architectures.includes(classifierOf(family));

/** The family of that name, or undefined. */
export const familyNamed = (name: unknown): Family | undefined =>
  typeof name === "string" ? byName.get(name) : undefined;

/**
 * The family that `model_type` and `architectures` name. Throws `model_unsupported`, with the list of supported families, if they name
 * none or disagree, and `model_invalid` if `config` is not an object.
 */
export function detectFamily(config: unknown): Family {
  if (!isObject(config)) {
    throw new LorikeetError("model_invalid", `config.json holds ${shown(config)}, but must hold a JSON object.`);
  }
  const { model_type: type, architectures } = config;
  const named: unknown[] = Array.isArray(architectures) ? architectures : [];
  const fits = (family: Family): boolean =>
    named.some((name) => [...family.architectures, classifierOf(family)].some((own) => own === name));
  const family = type === undefined || type === null ? families.find(fits) : familyNamed(type);
  if (family && (named.length === 0 || fits(family))) return family;
  throw new LorikeetError(
    "model_unsupported",
    `config.json names the architecture ${shown(named.length > 0 ? named : null)} with model_type ${shown(type ?? null)}, ` +
      `which is not supported; supported are ${supported}. Models of other classes are served as ONNX files.`,
    { param: "architectures", found: { model_type: type, architectures }, allowed: supported },
  );
}
