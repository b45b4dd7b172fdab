/** The Response object: what a request asked for, and what has been answered so far. */
import { assert } from "../../base/errors.js";
import type { PublicFault } from "../fault.js";
import type { RequestSummary } from "../observer.js";
import { type LorikeetFields, lorikeetOf } from "../openai/serialize.js";
import type { ResponsesRequest } from "./input.js";
import type { OutputItem } from "./items.js";

export type ResponseStatus = "queued" | "in_progress" | "cancelled" | "completed" | "incomplete" | "failed";

export interface ResponseUsage {
  readonly input_tokens: number;
  readonly input_tokens_details: { readonly cached_tokens: number; readonly cache_write_tokens: number };
  readonly output_tokens: number;
  readonly output_tokens_details: { readonly reasoning_tokens: number };
  readonly total_tokens: number;
}

export interface ResponseFault {
  readonly code: "invalid_prompt" | "rate_limit_exceeded" | "server_error";
  readonly message: string;
}

/** The first fields change while it is answered; the rest are the request's. */
export interface ResponseObject {
  readonly id: string;
  readonly object: "response";
  readonly created_at: number;
  readonly status: ResponseStatus;
  readonly completed_at: number | null;
  readonly error: ResponseFault | null;
  readonly incomplete_details: { readonly reason: "max_output_tokens" } | null;
  readonly output: readonly OutputItem[];
  /** Once it has ended without a fault. */
  readonly usage?: ResponseUsage;
  readonly background: boolean;
  readonly instructions: string | null;
  readonly max_output_tokens: number | null;
  readonly max_tool_calls: null;
  readonly metadata: Readonly<Record<string, string>>;
  readonly model: string;
  readonly parallel_tool_calls: boolean;
  readonly previous_response_id: string | null;
  readonly prompt_cache_key: string | null;
  readonly reasoning: { readonly effort: string | null; readonly summary: null };
  readonly safety_identifier: string | null;
  readonly service_tier: "default";
  readonly store: boolean;
  readonly temperature: number | null;
  readonly text: { readonly format: unknown; readonly verbosity: string };
  readonly tool_choice: unknown;
  readonly tools: readonly unknown[];
  readonly top_logprobs: number;
  readonly top_p: number | null;
  readonly truncation: "auto" | "disabled";
  /** If it was given: unlike the others it is never null. */
  readonly user?: string;
  /** Once it has ended. */
  readonly lorikeet?: LorikeetFields;
}

/** A response that is about to be answered by `model`. */
export function newResponse({ form, sampling, dropsOldestTurns }: ResponsesRequest, model: string): ResponseObject {
  return {
    id: form.id,
    object: "response",
    created_at: nowInSeconds(),
    status: form.background ? "queued" : "in_progress",
    completed_at: null,
    error: null,
    incomplete_details: null,
    output: [],
    background: form.background,
    instructions: form.instructions,
    max_output_tokens: form.maxOutputTokens,
    max_tool_calls: null,
    metadata: form.metadata,
    model,
    parallel_tool_calls: form.parallelToolCalls,
    previous_response_id: form.previousId,
    prompt_cache_key: form.promptCacheKey,
    reasoning: { effort: form.effort, summary: null },
    safety_identifier: form.safetyIdentifier,
    service_tier: "default",
    store: form.store,
    temperature: sampling.temperature,
    text: { format: form.format, verbosity: form.verbosity },
    tool_choice: form.toolChoice,
    tools: form.tools,
    top_logprobs: form.topLogprobs,
    top_p: sampling.topP,
    truncation: dropsOldestTurns === true ? "auto" : "disabled",
    ...(form.user === null ? {} : { user: form.user }),
  };
}

/** The response at its end. `isCut`: its last token was the last that it was allowed. */
export function endedResponse(
  response: ResponseObject,
  output: readonly OutputItem[],
  isCut: boolean,
  summary: RequestSummary,
): ResponseObject {
  return {
    ...response,
    status: isCut ? "incomplete" : "completed",
    completed_at: isCut ? null : nowInSeconds(),
    incomplete_details: isCut ? { reason: "max_output_tokens" } : null,
    output,
    usage: usageOf(summary),
    lorikeet: lorikeetOf(summary),
  };
}

/** The response of an answer that a fault ended, with what came before. */
export function failedResponse(
  response: ResponseObject,
  output: readonly OutputItem[],
  fault: PublicFault,
): ResponseObject {
  return { ...response, status: "failed", error: { code: codeOf(fault), message: fault.message }, output };
}

function codeOf({ status }: PublicFault): ResponseFault["code"] {
  if (status === 429) return "rate_limit_exceeded";
  return status < 500 ? "invalid_prompt" : "server_error";
}

function usageOf({ usage }: RequestSummary): ResponseUsage {
  assert(usage, "an answer that was generated has its tokens counted");
  const { promptTokens, completionTokens, reasoningTokens, cachedTokens } = usage;
  return {
    input_tokens: promptTokens,
    input_tokens_details: { cached_tokens: cachedTokens, cache_write_tokens: 0 },
    output_tokens: completionTokens,
    output_tokens_details: { reasoning_tokens: reasoningTokens },
    total_tokens: promptTokens + completionTokens,
  };
}

const nowInSeconds = (): number => Math.floor(Date.now() / 1000);
