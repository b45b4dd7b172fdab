/** How many log-probabilities one answer may have: every token of a prompt or a choice has its own and its alternatives'. */
import { LorikeetError } from "../base/errors.js";
import type { EngineRequest } from "../engine/types.js";
import type { SequencePlan } from "./plan.js";

/**
 * The sequences as they are where their log-probabilities are within `limit`. Where the request does not say
 * how many tokens it wants, as many as there is room for, if that is at least `mayShortenTo`. Throws LorikeetError `invalid_value` with both numbers.
 */
export function boundLogprobs(
  sequences: readonly SequencePlan[],
  { limit, mayShortenTo }: { readonly limit: number; readonly mayShortenTo: number | null },
): readonly SequencePlan[] {
  const requests = sequences.map(({ request }) => request);
  const ofPrompts = sum(requests.map(({ promptIds, promptLogprobs }) => promptIds.length * perToken(promptLogprobs)));
  const found = ofPrompts + sum(requests.map((request) => request.maxTokens * perChosen(request)));
  if (found <= limit) return sequences;
  const room = Math.floor((limit - ofPrompts) / sum(requests.map(perChosen)));
  if (mayShortenTo === null || room < mayShortenTo) {
    throw new LorikeetError(
      "invalid_value",
      `The request asks for up to ${found} log-probabilities (tokens of prompts and choices, times one and the alternatives); ` +
        `at most ${limit} are allowed.`,
      { param: "logprobs", found, allowed: limit },
    );
  }
  return sequences.map((sequence) => {
    const { request } = sequence;
    return { ...sequence, request: { ...request, maxTokens: Math.min(request.maxTokens, room) } };
  });
}

const perToken = (alternatives: number | null): number => (alternatives === null ? 0 : 1 + alternatives);
const perChosen = ({ sampling }: EngineRequest): number => perToken(sampling.logprobs);
const sum = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0);
