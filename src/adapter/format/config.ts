/**
 * `adapter_config.json`, PEFT's or mlx-lm's, read into the few numbers that matter. Every fault is collected; keys that change
 * the arithmetic in ways that are not served are refused by name, keys on no list are warned of.
 */

import { handleShortage, openRegular } from "../../base/files.js";
import { jsonBounds } from "../../tensor/json-bounds.js";
import { adaLoraKeys, readAdaLora } from "./adalora.js";
import type { MethodConfig, PeftMethod } from "./canonical.js";
import { FieldReader, type Fields, isRecord } from "./config-fields.js";
import { type Faults, quote, quoteList } from "./faults.js";
import type { FeatureLog } from "./features.js";
import { configFile } from "./files.js";
import { harmlessKeys, otherMethods, refusedInits, refusedKeys } from "./known.js";

export type { CanonicalConfig } from "./canonical.js";

export interface ReadConfig extends MethodConfig {
  readonly baseName: string | null;
  readonly modulesToSave: readonly string[];
  readonly trainsBias: boolean;
}

const maxDepth = 16;

/** null when it cannot be read as a LoRA config at all; the reason is among the faults. */
export async function readConfig(
  path: string,
  maxBytes: number,
  faults: Faults,
  features: FeatureLog,
  warnings: string[],
): Promise<ReadConfig | null> {
  const fields = await readFields(path, maxBytes, faults);
  if (!fields) return null;
  if (fields.peft_type === undefined && isRecord(fields.lora_parameters)) {
    return readMlx(fields, fields.lora_parameters, faults);
  }
  return readPeft(fields, faults, features, warnings);
}

async function readFields(path: string, maxBytes: number, faults: Faults): Promise<Fields | null> {
  let bytes: Buffer;
  try {
    bytes = await readBounded(path, maxBytes + 1);
  } catch (cause) {
    const shortage = handleShortage(cause);
    if (shortage) throw shortage;
    const reason = cause instanceof Error && "code" in cause ? cause.code : String(cause);
    if (reason !== "ENOENT") faults.invalid(`${configFile} cannot be read (${reason})`); // a missing one is known already
    return null;
  }
  const refuse = (fault: string): null => {
    faults.invalid(`${configFile} ${fault}`);
    return null;
  };
  if (bytes.length > maxBytes) return refuse(`is longer than ${maxBytes} bytes`);
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return refuse("is not UTF-8 text");
  }
  const { depth, duplicates } = jsonBounds(text, maxDepth);
  if (depth > maxDepth) return refuse(`nests deeper than ${maxDepth} levels`);
  if (duplicates.length > 0) return refuse(`has keys that come twice: ${quoteList(duplicates)}`);
  try {
    const json: unknown = JSON.parse(text);
    return isRecord(json) ? json : refuse("is not a JSON object");
  } catch (cause) {
    return refuse(`is not JSON (${cause instanceof Error ? cause.message.slice(0, 120) : "unreadable"})`);
  }
}

/** At most `most` bytes of a regular file. */
async function readBounded(path: string, most: number): Promise<Buffer> {
  await using handle = await openRegular(path);
  const bytes = Buffer.alloc(Math.min((await handle.stat()).size, most));
  let length = 0;
  while (length < bytes.length) {
    const { bytesRead } = await handle.read(bytes, length, bytes.length - length, length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return bytes.subarray(0, length);
}

function readPeft(fields: Fields, faults: Faults, features: FeatureLog, warnings: string[]): ReadConfig | null {
  const method = methodOf(fields.peft_type, faults);
  if (!method) return null;
  const isAdaLora = method === "ADALORA";
  const field = new FieldReader(fields, faults);
  const dora = field.flag("use_dora");
  if (dora && isAdaLora) features.note("adalora_dora");
  if (field.flag("lora_bias")) features.note("lora_bias");
  if (isSet(fields.trainable_token_indices)) features.note("trainable_tokens");
  const trainsBias = fields.bias !== undefined && fields.bias !== null && fields.bias !== "none";
  if (trainsBias) features.note("bias");
  checkInit(fields.init_lora_weights, faults);
  for (const [key, what] of refusedKeys) {
    if (isSet(fields[key])) faults.unsupported(`${key} is set (${what}), which is not supported`);
  }
  const isKnown = (key: string): boolean =>
    harmlessKeys.has(key) || refusedKeys.has(key) || (isAdaLora && adaLoraKeys.has(key));
  const strange = Object.keys(fields).filter((key) => !isKnown(key));
  if (strange.length > 0) warnings.push(`${configFile} has unknown keys, which were ignored: ${quoteList(strange)}.`);
  if (fields.lora_alpha === undefined) warnings.push(`${configFile} has no lora_alpha; PEFT's default of 8 was used.`);
  field.flag("fan_in_fan_out"); // how the base stores its weights: A and B keep their shapes
  return {
    ...(isAdaLora ? readAdaLora(field, faults) : readLora(field, dora)),
    baseName: field.text("base_model_name_or_path"),
    modulesToSave: field.texts("modules_to_save"),
    trainsBias,
  };
}

function readLora(field: FieldReader, dora: boolean): MethodConfig {
  return {
    canonical: {
      peft_type: "LORA",
      r: field.positiveInteger("r", 8),
      lora_alpha: field.number("lora_alpha", 8),
      use_rslora: field.flag("use_rslora"),
      ...(dora ? { use_dora: true } : {}),
      rank_pattern: field.ranks("rank_pattern"),
      alpha_pattern: field.numbers("alpha_pattern"),
    },
    scaleOf: null,
    keptRanks: new Map(),
  };
}

function methodOf(type: unknown, faults: Faults): PeftMethod | null {
  if (type === "LORA" || type === "ADALORA") return type;
  if (typeof type !== "string") {
    faults.invalid(`${configFile} has peft_type ${quote(type ?? null)}; "LORA" and "ADALORA" are allowed`);
    return null;
  }
  const name = otherMethods.get(type.toUpperCase()) ?? quote(type);
  faults.unsupported(
    `${name} (peft_type ${quote(type)}) is not supported; train it as LoRA, or merge it into the base`,
  );
  return null;
}

function checkInit(init: unknown, faults: Faults): void {
  if (typeof init !== "string") return;
  const refused = refusedInits.find(([prefix]) => init.toLowerCase().startsWith(prefix));
  if (!refused) return;
  faults.unsupported(
    `${refused[1]} initialization (init_lora_weights ${quote(init)}) changed the base's weights, so the adapter does not fit the plain ` +
      "base; convert it to plain LoRA with PEFT's save_pretrained(path_initial_model_for_weight_conversion=...)",
  );
}

function readMlx(fields: Fields, parameters: Fields, faults: Faults): ReadConfig | null {
  const type = fields.fine_tune_type ?? "lora";
  const dora = type === "dora" || fields.use_dora === true;
  if (!dora && type !== "lora") {
    faults.unsupported(`mlx-lm's fine_tune_type ${quote(type)} is not supported; "lora" and "dora" are`);
    return null;
  }
  const field = new FieldReader(parameters, faults, "lora_parameters.");
  const rank = field.positiveInteger("rank", 8);
  if (parameters.scale === undefined) faults.invalid(`${configFile} has no lora_parameters.scale`);
  const scale = field.number("scale", 1);
  return {
    canonical: {
      peft_type: "LORA",
      r: rank,
      lora_alpha: scale * rank,
      use_rslora: false,
      ...(dora ? { use_dora: true } : {}),
      rank_pattern: [],
      alpha_pattern: [],
    },
    scaleOf: () => scale,
    keptRanks: new Map(),
    baseName: typeof fields.model === "string" ? fields.model : null,
    modulesToSave: [],
    trainsBias: false,
  };
}

/** null, false, 0, "" and what is empty are how PEFT writes "not used". */
function isSet(value: unknown): boolean {
  if (!value) return false;
  return typeof value === "object" ? Object.keys(value).length > 0 : true;
}
