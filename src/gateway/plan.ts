/** Plans the sequences of one answer, as the engine needs them. Submits nothing. */
import { LorikeetError } from "../base/errors.js";
import type { EngineRequest } from "../engine/types.js";
import type { Grammar } from "../grammar/grammar.js";
import type { OutputOptions } from "../text/tools/chat-output.js";
import type { Tokenizer } from "../text/types.js";
import type { EncodedPrompt } from "./prompts.js";
import { type GenerationRequest, type ParamNames, paramsOf } from "./requests.js";
import { type SamplingDefaults, samplingOf } from "./sampling.js";

/** One sequence of an answer: choice `index`. */
export interface SequencePlan {
  readonly index: number;
  readonly request: EngineRequest;
  /** True for the first choice of each prompt, so that the prompt is counted once. */
  readonly countsPrompt: boolean;
  readonly prompt: EncodedPrompt;
  /** Ids of the text that the answer continues, so that its first word keeps its space; empty if it is a text of its own. */
  readonly continued: readonly number[];
  /** What of a chat's answer is reasoning and calls; null: all of it is text. */
  readonly output: OutputOptions | null;
}

/** How many tokens a model reads and generates. */
export interface Room {
  readonly maxContext: number;
  /** Tokens of an answer where they take no room of the prompt's. Default: both share `maxContext`. */
  readonly maxGenerated?: number | undefined;
}

export interface PlanContext extends Room {
  readonly tokenizer: Tokenizer | null;
  /** An encoder reads the prompt, and the answer is a text of its own. Default: the answer continues the prompt. */
  readonly encodesPrompts?: boolean | undefined;
  /** Maximum log-probabilities of one answer: every token of a prompt or choice has its own and its alternatives'. */
  readonly maxLogprobEntries: number;
  readonly stopIds: readonly number[];
  /** As `EngineRequest` has it; null, the default: none. */
  readonly forcedEndId?: number | null;
  readonly defaults: SamplingDefaults;
  /** The grammar that the text must match. */
  readonly grammar?: Grammar | null;
  readonly output?: OutputOptions | null;
  /** The adapter's `weightsDigest`; null for the base. */
  readonly weightsDigest: string | null;
  /** The adapter's name in errors; null for the base. */
  readonly adapterName?: string | null;
}

/** Throws LorikeetError `context_length_exceeded` (both numbers), `invalid_value` or `tokenizer_missing`. */
export function planSequences(
  request: GenerationRequest,
  prompts: readonly EncodedPrompt[],
  context: PlanContext,
): readonly SequencePlan[] {
  const endIds = [...new Set([...context.stopIds, ...request.stopTokenIds])];
  const grammar = context.grammar ?? null;
  const stopIds = stopIdsOf(request, context, endIds);
  checkAllowed(request, endIds);
  if (context.encodesPrompts) checkEncoded(request);
  if (request.stops.length > 0 && !context.tokenizer) {
    throw new LorikeetError(
      "tokenizer_missing",
      "The model has no tokenizer, so `stop` strings cannot be found; use token ids and `max_tokens`.",
      { param: "stop" },
    );
  }
  const sequences = prompts.flatMap((prompt, promptIndex) => {
    const maxTokens = maxTokensOf(request, prompt.ids.length, context);
    checkMinTokens(request, maxTokens);
    const promptLogprobs = promptLogprobsOf(request, maxTokens);
    return Array.from({ length: request.choices }, (_, choice): SequencePlan => {
      const engineRequest: EngineRequest = {
        promptIds: prompt.ids,
        maxTokens,
        sampling: samplingOf(request.sampling, context.defaults, request.logprobs, choice, {
          minTokens: request.minTokens,
          endIds,
          grammar,
          grammarEndIds: stopIds,
        }),
        stopIds,
        ...(context.forcedEndId != null && !request.ignoreEos && !grammar && { forcedEndId: context.forcedEndId }),
        ...(request.kind === "completions" && request.firstId !== undefined && { firstId: request.firstId }),
        emitsStop: request.includesStop,
        adapter: context.weightsDigest,
        promptLogprobs,
        ...(context.adapterName ? { adapterName: context.adapterName } : {}),
      };
      const index = promptIndex * request.choices + choice;
      return {
        ...{ index, request: engineRequest, countsPrompt: choice === 0, prompt },
        continued: continuesPrompt(request, context) ? prompt.ids : [],
        output: context.output ?? null,
      };
    });
  });
  const mayShortenTo = request.maxTokens === null ? Math.max(1, request.minTokens) : null;
  return boundLogprobs(sequences, { limit: context.maxLogprobEntries, mayShortenTo });
}

/** Text of a grammar ends by itself: only the model's own stop tokens may end it earlier, and only where it is complete. */
function stopIdsOf(request: GenerationRequest, context: PlanContext, endIds: readonly number[]): readonly number[] {
  if (!context.grammar) return request.ignoreEos ? request.stopTokenIds : endIds;
  return request.ignoreEos ? [] : context.stopIds;
}

/** A grammar's text would be incomplete without its end, so a stop string can end only text that may be followed by calls. */
export function stopsOf(request: GenerationRequest, grammar: Grammar | null): readonly string[] {
  const isFree = request.kind === "chat" && request.grammar === null && request.tools?.choice.kind === "auto";
  return grammar === null || isFree ? request.stops : [];
}

/** Whether the answer continues the prompt's text, so that its first word keeps its space. */
export function continuesPrompt(
  request: GenerationRequest,
  { encodesPrompts = false }: Pick<PlanContext, "encodesPrompts">,
): boolean {
  if (encodesPrompts) return false;
  return request.kind === "completions" || request.template.continueFinalMessage === true;
}

/** Whether the answer starts with its prompt. */
export function echoesPrompt(request: GenerationRequest): boolean {
  return request.kind === "completions" && request.echo;
}

/** The number of alternatives to compute for each prompt token; null: the prompt is not scored. */
function promptLogprobsOf(request: GenerationRequest, maxTokens: number): number | null {
  const { logprobs, promptLogprobs } = request;
  const echoed = echoesPrompt(request) && (logprobs !== null || maxTokens === 0) ? (logprobs ?? 0) : null;
  if (promptLogprobs === null) return echoed;
  return Math.max(promptLogprobs, echoed ?? 0);
}

/** An encoder's tokens are not predicted, so they have no log-probabilities, and an answer does not follow them. */
function checkEncoded(request: GenerationRequest): void {
  const param = echoesPrompt(request) ? "echo" : request.promptLogprobs === null ? null : "prompt_logprobs";
  if (param === null) return;
  const message = `\`${param}\` is not supported: this model's encoder reads the prompt, and the answer is a text of its own.`;
  throw new LorikeetError("unsupported_parameter", message, { param });
}

function checkMinTokens({ minTokens }: GenerationRequest, maxTokens: number): void {
  if (minTokens <= maxTokens) return;
  throw new LorikeetError(
    "invalid_value",
    `\`min_tokens\` is ${minTokens}, but at most ${maxTokens} tokens are generated.`,
    { param: "min_tokens", found: minTokens, allowed: maxTokens },
  );
}

/** Until `min_tokens` no token may end the answer, so another one must be allowed. */
function checkAllowed({ minTokens, sampling }: GenerationRequest, endIds: readonly number[]): void {
  const ends = new Set(endIds);
  if (minTokens === 0 || sampling.allowedIds === null || !sampling.allowedIds.every((id) => ends.has(id))) return;
  throw new LorikeetError(
    "invalid_value",
    "`allowed_token_ids` has only ids that end the answer, so `min_tokens` must be 0.",
    { param: "allowed_token_ids" },
  );
}

/** Throws LorikeetError `context_length_exceeded` if a prompt of this length leaves too little room for the requested tokens. */
export function requireRoom(request: GenerationRequest, promptTokens: number, room: Room): void {
  const { maxContext, maxGenerated } = room;
  if (maxGenerated !== undefined) {
    requireSeparateRoom(request, promptTokens, { maxContext, maxGenerated });
    return;
  }
  const least = request.shortensToFit ? 1 : (request.maxTokens ?? 1);
  if (promptTokens + least > maxContext) throw contextError(promptTokens, least, maxContext, paramsOf(request));
}

function requireSeparateRoom(
  request: GenerationRequest,
  promptTokens: number,
  { maxContext, maxGenerated }: Required<Room>,
): void {
  const { prompt, maxTokens } = paramsOf(request);
  if (promptTokens > maxContext) {
    const message = `\`${prompt}\` has ${promptTokens} tokens; the model reads at most ${maxContext}.`;
    throw new LorikeetError("context_length_exceeded", message, {
      ...{ param: prompt, found: promptTokens, allowed: maxContext },
    });
  }
  const found = request.shortensToFit ? 1 : (request.maxTokens ?? 1);
  if (found <= (maxGenerated ?? found)) return;
  const message = `\`${maxTokens}\` is ${found}; the model generates at most ${maxGenerated} tokens.`;
  throw new LorikeetError("context_length_exceeded", message, { param: maxTokens, found, allowed: maxGenerated });
}

/** The requested number of tokens, or the endpoint's default as far as the context has room. */
function maxTokensOf(request: GenerationRequest, promptTokens: number, context: PlanContext): number {
  requireRoom(request, promptTokens, context);
  const room = context.maxGenerated ?? context.maxContext - promptTokens;
  if (request.maxTokens !== null) return Math.min(request.maxTokens, room);
  const fallback = context.defaults.maxTokens ?? request.defaultMaxTokens ?? room;
  return Math.min(fallback, room);
}

function contextError(promptTokens: number, maxTokens: number, maxContext: number, params: ParamNames): LorikeetError {
  return new LorikeetError(
    "context_length_exceeded",
    `The model's context is ${maxContext} tokens, but ${promptTokens + maxTokens} were asked for: ` +
      `${promptTokens} in the prompt and ${maxTokens} to generate.`,
    {
      param: promptTokens >= maxContext ? params.prompt : params.maxTokens,
      found: promptTokens + maxTokens,
      allowed: maxContext,
    },
  );
}

/**
 * Returns the sequences if their log-probabilities are within `limit`. If the request does not set a number of tokens, it may be reduced
 * to fit, but not below `mayShortenTo`. Throws LorikeetError `invalid_value` with both numbers.
 */
function boundLogprobs(
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
