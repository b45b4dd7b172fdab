/**
 * `adapter_config.json`, PEFT's or mlx-lm's, read into the few numbers that matter. Every fault is collected; keys that change
 * the arithmetic in ways that are not served are refused by name, keys on no list are warned of.
 */

import { open } from "node:fs/promises";
import { jsonBounds } from "../../tensor/json-bounds.js";
import { type Faults, quote, quoteList } from "./faults.js";
import type { FeatureLog } from "./features.js";
import { configFile } from "./files.js";
import { harmlessKeys, otherMethods, refusedInits, refusedKeys } from "./known.js";
import type { PatternEntries } from "./patterns.js";

/** The keys that decide what an adapter computes; part of its digest. */
export interface CanonicalConfig {
  readonly peft_type: "LORA";
  readonly r: number;
  readonly lora_alpha: number;
  readonly use_rslora: boolean;
  /** In the order of the file, which decides. */
  readonly rank_pattern: PatternEntries;
  readonly alpha_pattern: PatternEntries;
}

export interface ReadConfig {
  readonly canonical: CanonicalConfig;
  /** mlx-lm's `scale`, which is the scale itself; null: computed from alpha and rank. */
  readonly scale: number | null;
  readonly baseName: string | null;
  readonly modulesToSave: readonly string[];
  readonly trainsBias: boolean;
}

type Fields = Readonly<Record<string, unknown>>;
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
    return readMlx(fields, fields.lora_parameters, faults, features);
  }
  return readPeft(fields, faults, features, warnings);
}

async function readFields(path: string, maxBytes: number, faults: Faults): Promise<Fields | null> {
  let bytes: Buffer;
  try {
    bytes = await readBounded(path, maxBytes + 1);
  } catch (cause) {
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
  const handle = await open(path, "r");
  try {
    const stat = await handle.stat();
    if (!stat.isFile()) throw new Error("not a regular file");
    const bytes = Buffer.alloc(Math.min(stat.size, most));
    let length = 0;
    while (length < bytes.length) {
      const { bytesRead } = await handle.read(bytes, length, bytes.length - length, length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    return bytes.subarray(0, length);
  } finally {
    await handle.close();
  }
}

function readPeft(fields: Fields, faults: Faults, features: FeatureLog, warnings: string[]): ReadConfig | null {
  if (!checkMethod(fields.peft_type, faults)) return null;
  const field = new FieldReader(fields, faults);
  if (field.flag("use_dora")) features.note("dora");
  if (field.flag("lora_bias")) features.note("lora_bias");
  if (isSet(fields.trainable_token_indices)) features.note("trainable_tokens");
  const trainsBias = fields.bias !== undefined && fields.bias !== null && fields.bias !== "none";
  if (trainsBias) features.note("bias");
  checkInit(fields.init_lora_weights, faults);
  for (const [key, what] of refusedKeys) {
    if (isSet(fields[key])) faults.unsupported(`${key} is set (${what}), which is not supported`);
  }
  const strange = Object.keys(fields).filter((key) => !harmlessKeys.has(key) && !refusedKeys.has(key));
  if (strange.length > 0) warnings.push(`${configFile} has unknown keys, which were ignored: ${quoteList(strange)}.`);
  if (fields.lora_alpha === undefined) warnings.push(`${configFile} has no lora_alpha; PEFT's default of 8 was used.`);
  field.flag("fan_in_fan_out"); // how the base stores its weights: A and B keep their shapes
  return {
    canonical: {
      peft_type: "LORA",
      r: field.positiveInteger("r", 8),
      lora_alpha: field.number("lora_alpha", 8),
      use_rslora: field.flag("use_rslora"),
      rank_pattern: field.pattern("rank_pattern", isPositiveInteger, "a positive whole number"),
      alpha_pattern: field.pattern("alpha_pattern", isNumber, "a finite number"),
    },
    scale: null,
    baseName: field.text("base_model_name_or_path"),
    modulesToSave: field.texts("modules_to_save"),
    trainsBias,
  };
}

function checkMethod(type: unknown, faults: Faults): boolean {
  if (type === "LORA") return true;
  if (typeof type !== "string") {
    faults.invalid(`${configFile} has peft_type ${quote(type ?? null)}; "LORA" is allowed`);
    return false;
  }
  const name = otherMethods.get(type.toUpperCase()) ?? quote(type);
  faults.unsupported(
    `${name} (peft_type ${quote(type)}) is not supported; train it as LoRA, or merge it into the base`,
  );
  return false;
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

function readMlx(fields: Fields, parameters: Fields, faults: Faults, features: FeatureLog): ReadConfig | null {
  const type = fields.fine_tune_type ?? "lora";
  if (type === "dora" || fields.use_dora === true) features.note("dora");
  else if (type !== "lora") {
    faults.unsupported(`mlx-lm's fine_tune_type ${quote(type)} is not supported; "lora" is`);
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
      rank_pattern: [],
      alpha_pattern: [],
    },
    scale,
    baseName: typeof fields.model === "string" ? fields.model : null,
    modulesToSave: [],
    trainsBias: false,
  };
}

/** Reads typed fields; null equals absent; a wrong type is a fault and reads as the default. */
class FieldReader {
  readonly #fields: Fields;
  readonly #faults: Faults;
  readonly #prefix: string;

  constructor(fields: Fields, faults: Faults, prefix = "") {
    this.#fields = fields;
    this.#faults = faults;
    this.#prefix = prefix;
  }

  flag(key: string): boolean {
    return this.#read(key, (value) => typeof value === "boolean", "true or false", false);
  }

  number(key: string, fallback: number): number {
    return this.#read(key, isNumber, "a finite number", fallback);
  }

  positiveInteger(key: string, fallback: number): number {
    return this.#read(key, isPositiveInteger, "a positive whole number", fallback);
  }

  text(key: string): string | null {
    return this.#read<string | null>(key, (value): value is string => typeof value === "string", "a string", null);
  }

  texts(key: string): readonly string[] {
    return this.#read<readonly string[]>(key, isTexts, "a list of strings", []);
  }

  pattern(key: string, check: (value: unknown) => value is number, allowed: string): PatternEntries {
    const object = this.#read<Fields>(key, isRecord, "an object", {});
    const entries: [string, number][] = [];
    for (const [pattern, value] of Object.entries(object)) {
      if (check(value)) entries.push([pattern, value]);
      else this.#faults.invalid(`${this.#prefix}${key}[${quote(pattern)}] is ${quote(value)}; ${allowed} is allowed`);
    }
    return entries;
  }

  #read<T>(key: string, check: (value: unknown) => value is T, allowed: string, fallback: T): T {
    const value = this.#fields[key];
    if (value === undefined || value === null) return fallback;
    if (check(value)) return value;
    this.#faults.invalid(`${this.#prefix}${key} is ${quote(value)}; ${allowed} is allowed`);
    return fallback;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isNumber(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value);
}

function isPositiveInteger(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value > 0;
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((entry) => typeof entry === "string");
}

/** null, false, 0, "" and what is empty are how PEFT writes "not used". */
function isSet(value: unknown): boolean {
  if (!value) return false;
  return typeof value === "object" ? Object.keys(value).length > 0 : true;
}
