/** Fills in what a request omits with the server's defaults: OpenAI's, or the model's own. */
import { choiceSeed } from "../engine/sampling/random.js";
import type { SamplingParams } from "../engine/types.js";
import type { Grammar } from "../grammar/grammar.js";
import type { SamplingInput } from "./requests.js";

/** Defaults for one server. `maxTokens` null: the endpoint's default. */
export interface SamplingDefaults {
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly repetitionPenalty: number;
  readonly maxTokens: number | null;
}

/** Logits are divided and multiplied by it: within these bounds none leaves the range of float32. */
export const repetitionBounds = { min: 0.01, max: 10 } as const;

const openAi: SamplingDefaults = {
  temperature: 1,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  maxTokens: null,
};

/** Reads generation_config.json's values; a value of the wrong kind or out of range keeps OpenAI's. `do_sample: false` is greedy. */
export function samplingDefaults(
  mode: "openai" | "model",
  config: Readonly<Record<string, number | boolean>>,
): SamplingDefaults {
  if (mode === "openai") return openAi;
  const number = (key: string, fallback: number, min: number, max: number): number => {
    const value = config[key];
    return typeof value === "number" && value >= min && value <= max ? value : fallback;
  };
  const isGreedy = config.do_sample === false;
  const newTokens = config.max_new_tokens;
  return {
    temperature: isGreedy ? 0 : number("temperature", openAi.temperature, 0, 2),
    topK: Math.floor(number("top_k", openAi.topK, 0, Number.MAX_SAFE_INTEGER)),
    topP: number("top_p", openAi.topP, 0, 1),
    minP: number("min_p", openAi.minP, 0, 1),
    repetitionPenalty: number(
      "repetition_penalty",
      openAi.repetitionPenalty,
      repetitionBounds.min,
      repetitionBounds.max,
    ),
    maxTokens: typeof newTokens === "number" && newTokens >= 1 ? Math.floor(newTokens) : null,
  };
}

/** What ends a sequence, as far as sampling needs to know. */
export interface Ends {
  readonly minTokens: number;
  /** Every id that would end it. */
  readonly endIds: readonly number[];
  readonly grammar: Grammar | null;
  /** Those that may end a text of the grammar. */
  readonly grammarEndIds: readonly number[];
}

const noEnds: Ends = { minTokens: 0, endIds: [], grammar: null, grammarEndIds: [] };

/** The parameters of choice `index`. Each choice has its own seed, so that choices differ but the request is reproducible. */
export function samplingOf(
  input: SamplingInput,
  defaults: SamplingDefaults,
  logprobs: number | null,
  index: number,
  { minTokens, endIds, grammar, grammarEndIds }: Ends = noEnds,
): SamplingParams {
  const topP = input.topP ?? defaults.topP;
  return {
    temperature: input.temperature ?? defaults.temperature,
    // In the limit, an empty nucleus is the best token alone.
    topK: topP === 0 ? 1 : Math.max(0, input.topK ?? defaults.topK),
    topP: topP === 0 ? 1 : topP,
    minP: input.minP ?? defaults.minP,
    repetitionPenalty: input.repetitionPenalty ?? defaults.repetitionPenalty,
    presencePenalty: input.presencePenalty ?? 0,
    frequencyPenalty: input.frequencyPenalty ?? 0,
    logitBias: input.logitBias,
    allowedIds: input.allowedIds,
    minTokens,
    heldIds: endIds,
    grammar,
    grammarEndIds,
    seed: input.seed === null ? null : choiceSeed(input.seed, index),
    logprobs,
  };
}
