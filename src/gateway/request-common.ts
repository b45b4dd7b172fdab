/** Turns the parsed fields that both kinds of request share into the request's own words. */
import type * as v from "valibot";
import type { commonEntries } from "./fields.js";

type CommonFields = v.InferOutput<v.ObjectSchema<ReturnType<typeof commonEntries>, undefined>>;

export function commonOf(fields: CommonFields) {
  return {
    model: fields.model,
    stream: fields.stream,
    includeUsage: fields.stream_options?.include_usage ?? false,
    choices: fields.n,
    maxTokens: fields.max_tokens ?? fields.max_completion_tokens ?? null,
    stops: fields.stop,
    ignoreEos: fields.ignore_eos,
    returnTokenIds: fields.return_token_ids,
    sampling: {
      temperature: fields.temperature ?? null,
      topK: fields.top_k ?? null,
      topP: fields.top_p ?? null,
      minP: fields.min_p ?? null,
      repetitionPenalty: fields.repetition_penalty ?? null,
      presencePenalty: fields.presence_penalty ?? null,
      frequencyPenalty: fields.frequency_penalty ?? null,
      logitBias: fields.logit_bias ?? new Map<number, number>(),
      seed: fields.seed ?? null,
    },
  };
}
