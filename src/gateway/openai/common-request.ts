/** Converts the parsed fields that both kinds of request share to neutral form. */
import type * as v from "valibot";
import type { GenerationRequest } from "../requests.js";
import type { commonEntries } from "./fields.js";
import { grammarOf } from "./grammar-fields.js";

/** How the answer is to be serialized. Only the serializer reads this. */
export interface AnswerForm {
  readonly includeUsage: boolean;
  /** Every chunk has its choice's usage so far. */
  readonly continuousUsage: boolean;
  /** Log-probabilities name tokens by their ids. */
  readonly namesTokensById: boolean;
}

export type OpenAiRequest = GenerationRequest & AnswerForm;

type CommonFields = v.InferOutput<v.ObjectSchema<ReturnType<typeof commonEntries>, undefined>>;

export function commonOf(fields: CommonFields) {
  return {
    model: fields.model ?? null,
    adapters: fields.adapters,
    stream: fields.stream,
    includeUsage: fields.stream_options?.include_usage ?? false,
    continuousUsage: fields.stream_options?.continuous_usage_stats ?? false,
    choices: fields.n,
    maxTokens: fields.max_tokens ?? fields.max_completion_tokens ?? null,
    shortensToFit: false,
    minTokens: fields.min_tokens,
    stops: fields.stop,
    stopTokenIds: fields.stop_token_ids,
    includesStop: fields.include_stop_str_in_output,
    ignoreEos: fields.ignore_eos,
    keepsSpecialTokens: !fields.skip_special_tokens,
    truncation:
      fields.truncate_prompt_tokens === undefined
        ? null
        : { tokens: fields.truncate_prompt_tokens, side: fields.truncation_side },
    promptLogprobs: fields.prompt_logprobs ?? null,
    returnTokenIds: fields.return_token_ids,
    grammar: grammarOf(fields),
    namesTokensById: fields.return_tokens_as_token_ids,
    sampling: samplingOf(fields),
  };
}

type SamplingFields = Pick<
  CommonFields,
  | "temperature"
  | "top_k"
  | "top_p"
  | "min_p"
  | "repetition_penalty"
  | "presence_penalty"
  | "frequency_penalty"
  | "logit_bias"
  | "seed"
> &
  Partial<Pick<CommonFields, "allowed_token_ids">>;

export function samplingOf(fields: SamplingFields): GenerationRequest["sampling"] {
  return {
    temperature: fields.temperature ?? null,
    topK: fields.top_k ?? null,
    topP: fields.top_p ?? null,
    minP: fields.min_p ?? null,
    repetitionPenalty: fields.repetition_penalty ?? null,
    presencePenalty: fields.presence_penalty ?? null,
    frequencyPenalty: fields.frequency_penalty ?? null,
    logitBias: fields.logit_bias ?? new Map<number, number>(),
    allowedIds: fields.allowed_token_ids ?? null,
    seed: fields.seed ?? null,
  };
}
