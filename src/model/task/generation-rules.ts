/** How an encoder-decoder generates, as generation_config.json and config.json say, the former first. */

import { readdir } from "node:fs/promises";
import { LorikeetError } from "../../base/errors.js";
import { isObject, type Json } from "../../base/json.js";
import { readJson } from "../checkpoint/files.js";
import { readGenerationDefaults } from "../config/tokens.js";

export interface GenerationRules {
  /** The decoder's first input. */
  readonly startId: number;
  /** Ids that end the text. */
  readonly endIds: readonly number[];
  readonly padId: number;
  /** The first token of every text, such as that of the target language; null: free. */
  readonly firstId: number | null;
  /** Tokens that are never generated. */
  readonly suppressedIds: readonly number[];
  /** Tokens that are not the first. */
  readonly suppressedFirstIds: readonly number[];
  /** Makes tokens that the decoder has read less likely; 1: it does not. */
  readonly repetitionPenalty: number;
  /** Tokens to generate if a request does not say; null: not stated. */
  readonly maxTokens: number | null;
  /** Tokens that the encoder reads; null: not stated. */
  readonly maxSource: number | null;
  /** Tokens that the decoder can generate; null: not stated. */
  readonly maxTarget: number | null;
  /** Put in front of every source; "": nothing. */
  readonly prefix: string;
  /** What differs by task, by Hugging Face's name, such as `summarization` and `translation_en_to_de`. */
  readonly tasks: ReadonlyMap<string, TaskSettings>;
  /** Settings that are not applied, as `name value`. */
  readonly ignored: readonly string[];
  /** Sampling settings under their own names. */
  readonly defaults: Readonly<Record<string, number | boolean>>;
}

/** Of config.json's `task_specific_params`. */
export interface TaskSettings {
  /** In place of the model's own. */
  readonly prefix: string | null;
  readonly maxTokens: number | null;
}

/** transformers writes 1e30 where it knows no limit. */
const largestLimit = 1e9;

/** Throws `model_unsupported` without a start token, `model_invalid` for files that cannot be read. */
export async function readGenerationRules(folder: string): Promise<GenerationRules> {
  const names = await readdir(folder);
  const read = async (name: string): Promise<Json> => {
    const json = names.includes(name) ? await readJson(folder, name) : {};
    return isObject(json) ? json : {};
  };
  const config = await read("config.json");
  const generation = await read("generation_config.json");
  const { model_max_length: textLimit } = await read("tokenizer_config.json");
  const setting = (key: string): unknown => generation[key] ?? config[key];
  const startId = [setting("decoder_start_token_id"), setting("bos_token_id")].find(isId);
  if (startId === undefined) {
    const message = "The model's generation_config.json and config.json name no decoder_start_token_id.";
    throw new LorikeetError("model_unsupported", message, { param: "decoder_start_token_id" });
  }
  const positions = numberOf(config.max_position_embeddings);
  const specific = isObject(config.task_specific_params) ? config.task_specific_params : {};
  const penalty = setting("repetition_penalty") ?? 1;
  const bad = listsOf(setting("bad_words_ids"));
  return {
    startId,
    endIds: idsOf(setting("eos_token_id")),
    padId: [setting("pad_token_id")].find(isId) ?? 0,
    firstId: [setting("forced_bos_token_id")].find(isId) ?? null,
    suppressedIds: [...bad.flatMap((ids) => (ids.length === 1 ? ids : [])), ...idsOf(setting("suppress_tokens"))],
    suppressedFirstIds: idsOf(setting("begin_suppress_tokens")),
    repetitionPenalty: isPenalty(penalty) ? penalty : 1,
    maxTokens: maxTokensOf(setting),
    maxSource: least(numberOf(textLimit), positions),
    maxTarget: positions,
    prefix: textOf(config.prefix) ?? "",
    tasks: new Map(Object.entries(specific).map(([name, settings]) => [name, settingsOf(settings)])),
    ignored: [
      ...ignoredOf(setting),
      ...(isPenalty(penalty) ? [] : [`repetition_penalty ${JSON.stringify(penalty)}`]),
      ...tasksIgnored(specific),
      ...(bad.some((ids) => ids.length > 1) ? ["bad_words_ids of several tokens"] : []),
    ],
    defaults: readGenerationDefaults(generation),
  };
}

/** What changes texts and is not applied, with the values that change nothing. */
const unapplied: readonly (readonly [name: string, neutral: number])[] = [
  ["num_beams", 1],
  ["no_repeat_ngram_size", 0],
  ["encoder_no_repeat_ngram_size", 0],
  ["min_length", 0],
  ["min_new_tokens", 0],
  ["encoder_repetition_penalty", 1],
  ["guidance_scale", 1],
  ["penalty_alpha", 0],
];

function ignoredOf(setting: (key: string) => unknown): string[] {
  return unapplied.flatMap(([name, neutral]) => {
    const value = setting(name);
    return typeof value === "number" && value > neutral ? [`${name} ${value}`] : [];
  });
}

/** As requests may ask for: no logit leaves the range of float32. */
const isPenalty = (value: unknown): value is number => typeof value === "number" && value >= 0.01 && value <= 10;

/** `max_length` counts the decoder's first input. */
function maxTokensOf(setting: (key: string) => unknown): number | null {
  const length = numberOf(setting("max_length"));
  return numberOf(setting("max_new_tokens")) ?? (length === null || length < 2 ? null : length - 1);
}

const settingOf =
  (settings: unknown) =>
  (key: string): unknown =>
    isObject(settings) ? settings[key] : undefined;

function settingsOf(settings: unknown): TaskSettings {
  const setting = settingOf(settings);
  return { prefix: textOf(setting("prefix")), maxTokens: maxTokensOf(setting) };
}

/** Each setting once, whichever tasks have it. */
function tasksIgnored(specific: Json): string[] {
  const found = Object.entries(specific).flatMap(([name, settings]) =>
    ignoredOf(settingOf(settings)).map((setting) => `${setting} (${name.replace(/^(translation)_.*/, "$1")})`),
  );
  return [...new Set(found)];
}

const textOf = (value: unknown): string | null => (typeof value === "string" ? value : null);

const isId = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

const idsOf = (value: unknown): number[] => (Array.isArray(value) ? value : [value]).filter(isId);

const listsOf = (value: unknown): number[][] => (Array.isArray(value) ? value.map(idsOf) : []);

const numberOf = (value: unknown): number | null =>
  typeof value === "number" && value >= 1 && value < largestLimit ? Math.floor(value) : null;

const least = (a: number | null, b: number | null): number | null =>
  a === null || b === null ? (a ?? b) : Math.min(a, b);
