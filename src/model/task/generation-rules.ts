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
  /** Sequences of at least two tokens that a text never has. */
  readonly bannedSequences: readonly (readonly number[])[];
  /** Length of the sequences of tokens that a text does not repeat; 0: it may repeat any. */
  readonly ngramSize: number;
  /** What the decoder has read, its first input included, before an end may follow. */
  readonly leastLength: number;
  /** What the last token is replaced by where a text reaches its length; null: by nothing. */
  readonly forcedEndId: number | null;
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
  // As transformers does, config.json decides how texts are generated only where there is no other file.
  const behaviour = names.includes("generation_config.json") ? generation : config;
  const setting = (key: string): unknown => behaviour[key];
  const token = (key: string): unknown => generation[key] ?? config[key];
  const startId = [token("decoder_start_token_id"), token("bos_token_id")].find(isId);
  if (startId === undefined) {
    const message = "The model's generation_config.json and config.json name no decoder_start_token_id.";
    throw new LorikeetError("model_unsupported", message, { param: "decoder_start_token_id" });
  }
  const positions = numberOf(config.max_position_embeddings);
  const specific = isObject(config.task_specific_params) ? config.task_specific_params : {};
  const penalty = setting("repetition_penalty") ?? 1;
  const endIds = idsOf(token("eos_token_id"));
  const bad = listsOf(setting("bad_words_ids")).filter(
    ([id, other]) => other !== undefined || !endIds.includes(id ?? -1),
  );
  return {
    startId,
    endIds,
    padId: [token("pad_token_id")].find(isId) ?? 0,
    firstId: [setting("forced_bos_token_id")].find(isId) ?? null,
    suppressedIds: [...bad.flatMap((ids) => (ids.length === 1 ? ids : [])), ...idsOf(setting("suppress_tokens"))],
    suppressedFirstIds: idsOf(setting("begin_suppress_tokens")),
    bannedSequences: bad.filter((ids) => ids.length > 1),
    ngramSize: numberOf(setting("no_repeat_ngram_size")) ?? 0,
    leastLength: leastLengthOf(setting),
    forcedEndId: idsOf(setting("forced_eos_token_id")).sort((a, b) => a - b)[0] ?? null,
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
    ],
    defaults: readGenerationDefaults(generation),
  };
}

/** What changes texts and is not applied, with the values that change nothing. */
const unapplied: readonly (readonly [name: string, neutral: number])[] = [
  ["num_beams", 1],
  ["encoder_no_repeat_ngram_size", 0],
  ["encoder_repetition_penalty", 1],
  ["guidance_scale", 1],
  ["penalty_alpha", 0],
  ["max_time", 0],
];
/** Those that are applied where the whole model has them, and not where one of its tasks has. */
const unappliedByTask = [...unapplied, ["no_repeat_ngram_size", 0], ["min_length", 0], ["min_new_tokens", 0]] as const;
/** Settings with lists and objects. */
const unappliedLists = [
  ...["sequence_bias", "forced_decoder_ids", "exponential_decay_length_penalty", "stop_strings", "dola_layers"],
  ...["force_words_ids", "constraints", "watermarking_config"],
];

function ignoredOf(setting: (key: string) => unknown, numbers: typeof unapplied = unapplied): string[] {
  const lists = unappliedLists.filter((name) => setting(name) !== undefined && setting(name) !== null);
  const found = numbers.flatMap(([name, neutral]) => {
    const value = setting(name);
    return typeof value === "number" && value !== neutral ? [`${name} ${value}`] : [];
  });
  return [...found, ...lists];
}

/** As requests may ask for: no logit leaves the range of float32. */
const isPenalty = (value: unknown): value is number => typeof value === "number" && value >= 0.01 && value <= 10;

/** `max_length` counts the decoder's first input. */
function maxTokensOf(setting: (key: string) => unknown): number | null {
  const length = numberOf(setting("max_length"));
  return numberOf(setting("max_new_tokens")) ?? (length === null || length < 2 ? null : length - 1);
}

/** `min_length` counts the first input of the decoder, too; `min_new_tokens` does not, and goes before it. */
function leastLengthOf(setting: (key: string) => unknown): number {
  const fresh = setting("min_new_tokens");
  return typeof fresh === "number" ? (numberOf(fresh) ?? 0) + 1 : (numberOf(setting("min_length")) ?? 0);
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
    ignoredOf(settingOf(settings), unappliedByTask).map(
      (setting) => `${setting} (${name.replace(/^(translation)_.*/, "$1")})`,
    ),
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
