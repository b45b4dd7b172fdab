/** Reads special token ids and sampling defaults from config.json and generation_config.json. */

import { type Json, shown } from "../../base/json.js";
import type { ConfigFields } from "./fields.js";

export interface TokenIds {
  readonly stopIds: readonly number[];
  readonly bosId: number | null;
  readonly padId: number | null;
}

/** A family's default ids, for files without them. */
export interface TokenDefaults {
  readonly eosIds: readonly number[];
  readonly bosId: number | null;
  readonly padId: number | null;
}

/**
 * Reads the token ids. Stop ids are the union of both files, in ascending order, or the family's defaults if neither file has
 * any. The other ids come from config.json, else generation_config.json, else the family. A negative id means none.
 */
export function readTokenIds(config: ConfigFields, generation: ConfigFields, defaults: TokenDefaults): TokenIds {
  const fromConfig = readIds(config, "eos_token_id");
  const fromGeneration = readIds(generation, "eos_token_id");
  const stated = (fromConfig ?? fromGeneration) ? [...(fromConfig ?? []), ...(fromGeneration ?? [])] : defaults.eosIds;
  const single = (key: string, absent: number | null): number | null => {
    const ids = readIds(config, key) ?? readIds(generation, key);
    return ids === undefined ? absent : (ids[0] ?? null);
  };
  return {
    stopIds: [...new Set(stated)].sort((left, right) => left - right),
    bosId: single("bos_token_id", defaults.bosId),
    padId: single("pad_token_id", defaults.padId),
  };
}

/** The ids of a key; undefined if the file lacks it. */
function readIds(fields: ConfigFields, key: string): number[] | undefined {
  const value = fields.raw(key);
  if (value === undefined) return undefined;
  if (value === null) return [];
  const ids: unknown[] = Array.isArray(value) ? value : [value];
  const whole = ids.filter((id) => typeof id === "number").filter(Number.isInteger);
  if (whole.length < ids.length) {
    fields.faults.invalid(`${fields.name(key)} is ${shown(value)}, but must be a token id, a list of them or null`);
  }
  return whole.filter((id) => id >= 0);
}

const samplingKeys = [
  "do_sample",
  "temperature",
  "top_k",
  "top_p",
  "min_p",
  "typical_p",
  "repetition_penalty",
  "presence_penalty",
  "frequency_penalty",
  "max_new_tokens",
] as const;

/** The sampling settings of a generation_config.json, under its own names. */
export function readGenerationDefaults(generation: Json): Record<string, number | boolean> {
  const defaults: Record<string, number | boolean> = {};
  for (const key of samplingKeys) {
    const value = generation[key];
    if (typeof value === "number" || typeof value === "boolean") defaults[key] = value;
  }
  return defaults;
}
