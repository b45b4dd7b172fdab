/** One answer during generation: its sequences, the queue of their parts, and its single ending. Knows no protocol. */
import { deferred } from "../base/async.js";
import { AsyncQueue } from "../base/async-queue.js";
import { LorikeetError } from "../base/errors.js";
import { last } from "../base/list.js";
import type { Engine, EngineEvent, SequenceHandle, TokenLogprob } from "../engine/types.js";
import { characterCount } from "../text/characters.js";
import type { OutputPiece } from "../text/tools/call-scanner.js";
import { ChatOutput, outputMarkers } from "../text/tools/chat-output.js";
import type { Tokenizer } from "../text/types.js";
import { type Assembled, Assembler, nothing } from "./assembler.js";
import { asFault } from "./fault.js";
import type { GatewayObserver } from "./observer.js";
import type { ChoicePart, Usage } from "./parts.js";
import { echoesPrompt, type SequencePlan, stopsOf } from "./plan.js";
import { promptPieces } from "./prompt-pieces.js";
import type { GenerationRequest } from "./requests.js";

export interface GenerationDeps {
  readonly engine: Engine;
  readonly tokenizer: Tokenizer | null;
  readonly observer: GatewayObserver;
}

export interface GenerationEnd {
  readonly error: LorikeetError | null;
  readonly usage: Usage;
  readonly queueMs: number | null;
  readonly timeToFirstTokenMs: number | null;
}

type Finish = Extract<EngineEvent, { type: "finish" }>;

/** Unread parts are bounded by the requested tokens. `pause` stops the engine's work. */
export class Generation {
  readonly #deps: GenerationDeps;
  readonly #request: GenerationRequest;
  readonly #parts = new AsyncQueue<ChoicePart>();
  readonly #handles: SequenceHandle[] = [];
  readonly #admission = deferred<number>();
  readonly #ended = deferred<GenerationEnd>();
  readonly #submittedAt = performance.now();
  #running = 0;
  #error: LorikeetError | null = null;
  #queueMs: number | null = null;
  #timeToFirstTokenMs: number | null = null;
  #usage: Usage = { promptTokens: 0, completionTokens: 0, reasoningTokens: 0, cachedTokens: 0 };

  /** Resolves when every sequence has ended and released its resources. Never rejects. */
  get ended(): Promise<GenerationEnd> {
    return this.#ended.promise;
  }

  /** Submits every sequence. What the engine throws (`queue_full`, `draining`, ...) ends all of them and rejects `admitted`. */
  constructor(request: GenerationRequest, sequences: readonly SequencePlan[], deps: GenerationDeps) {
    this.#request = request;
    this.#deps = deps;
    this.#admission.promise.catch(() => {});
    try {
      for (const sequence of sequences) this.#submit(sequence);
    } catch (error) {
      this.end(asFault(error));
      if (this.#running === 0) this.#conclude();
    }
  }

  /** Whether a fault has ended it, as one of the engine's while it was submitted. */
  get hasFailed(): boolean {
    return this.#error !== null;
  }

  /** Milliseconds in the queue, once the first sequence is admitted. Rejects if none is. */
  get admitted(): Promise<number> {
    return this.#admission.promise;
  }

  /** Iterate it once. Throws the LorikeetError that ended the answer, after the parts before it. */
  get parts(): AsyncIterable<ChoicePart> {
    return this.#parts;
  }

  pause(): void {
    for (const handle of this.#handles) handle.pause();
  }

  resume(): void {
    for (const handle of this.#handles) handle.resume();
  }

  /** Whether it is running while others wait for a slot. */
  get keepsOthersWaiting(): boolean {
    if (this.#running === 0) return false;
    const { waiting, slots } = this.#deps.engine.stats();
    return waiting > 0 && slots.idle === 0;
  }

  /** Ends every sequence at once. The first reason counts, and nothing changes after the end. */
  end(reason: LorikeetError): void {
    this.#error ??= reason;
    this.#admission.reject(this.#error);
    this.#parts.end(this.#error);
    for (const handle of this.#handles) handle.end("cancelled");
  }

  #submit(sequence: SequencePlan): void {
    const reader = new SequenceReader(sequence, this.#request, this.#deps.tokenizer);
    const handle = this.#deps.engine.submit(sequence.request, (event) => this.#take(sequence, reader, handle, event));
    this.#handles.push(handle);
    this.#running++;
  }

  /** Converts each event to parts immediately, even if nobody reads them, so that stop strings and endings take effect at once. */
  #take(sequence: SequencePlan, reader: SequenceReader, handle: SequenceHandle, event: EngineEvent): void {
    try {
      if (event.type === "admitted") this.#admit(event.queueMs);
      if (event.type === "token") this.#timeToken(reader);
      if (event.type === "finish") this.#finish(sequence, event, reader);
      if (!this.#error) {
        for (const part of reader.read(event)) this.#parts.push(part);
        if (reader.stopped) handle.end("stop");
      }
    } catch (error) {
      this.end(asFault(error));
    }
    if (event.type === "finish" && this.#running === 0) this.#conclude();
  }

  #admit(queueMs: number): void {
    if (this.#queueMs !== null) return;
    this.#queueMs = queueMs;
    this.#admission.resolve(queueMs);
    this.#deps.observer.queued?.(queueMs / 1000);
  }

  #timeToken(reader: SequenceReader): void {
    const now = performance.now();
    if (this.#timeToFirstTokenMs === null) {
      this.#timeToFirstTokenMs = now - this.#submittedAt;
      this.#deps.observer.firstToken?.(this.#timeToFirstTokenMs / 1000);
    }
    if (reader.lastTokenAt !== null) this.#deps.observer.interToken?.((now - reader.lastTokenAt) / 1000);
    reader.lastTokenAt = now;
  }

  #finish(sequence: SequencePlan, event: Finish, reader: SequenceReader): void {
    this.#running--;
    const { promptTokens, completionTokens, reasoningTokens, cachedTokens } = this.#usage;
    this.#usage = {
      promptTokens: promptTokens + (sequence.countsPrompt ? event.promptTokens : 0),
      completionTokens: completionTokens + event.completionTokens,
      reasoningTokens: reasoningTokens + reader.reasoningTokens,
      cachedTokens: cachedTokens + (sequence.countsPrompt ? event.timings.cachedTokens : 0),
    };
    const fault = faultOf(event);
    if (fault && !(reader.stopped && event.reason === "cancelled")) this.end(fault);
  }

  #conclude(): void {
    this.#admission.reject(
      this.#error ?? new LorikeetError("internal", "The engine ended a request without admitting it."),
    );
    this.#parts.end(null);
    this.#ended.resolve({
      error: this.#error,
      usage: this.#usage,
      queueMs: this.#queueMs,
      timeToFirstTokenMs: this.#timeToFirstTokenMs,
    });
  }
}

/** Converts one sequence's events to parts of its choice. */
class SequenceReader {
  readonly #request: GenerationRequest;
  readonly #sequence: SequencePlan;
  readonly #stopIds: ReadonlySet<number>;
  readonly #tokenizer: Tokenizer | null;
  readonly #output: ChatOutput | null;
  #assembler: Assembler;
  #hasBegun = false;
  #generated = 0;
  lastTokenAt: number | null = null;
  reasoningTokens = 0;

  constructor(sequence: SequencePlan, request: GenerationRequest, tokenizer: Tokenizer | null) {
    this.#sequence = sequence;
    this.#request = request;
    this.#stopIds = new Set(sequence.request.stopIds);
    this.#tokenizer = tokenizer;
    this.#output = sequence.output && new ChatOutput(sequence.output);
    this.#assembler = this.#assemblerAt(0);
  }

  /** A stop string came, or the only call that was allowed. */
  get stopped(): boolean {
    return this.#assembler.stop !== null || this.#output?.isOver === true;
  }

  *read(event: EngineEvent): Iterable<ChoicePart> {
    const { kind, promptLogprobs } = this.#request;
    const echoes = echoesPrompt(this.#request);
    const echoLogprobs = echoes ? this.#request.logprobs : null;
    switch (event.type) {
      case "admitted":
        // A chat's first part gives the role. A completion has no text yet unless it echoes the prompt.
        if (echoes && echoLogprobs === null) yield this.#echo([]);
        else if (kind === "chat") yield this.#part(nothing);
        return;
      case "prompt": {
        const part = echoLogprobs === null ? null : this.#echo(withTop(event.logprobs, echoLogprobs));
        if (promptLogprobs !== null) {
          yield { ...(part ?? this.#part(nothing)), promptLogprobs: withTop(event.logprobs, promptLogprobs) };
        } else if (part) yield part;
        return;
      }
      case "token": {
        const wasReasoning = this.#isReasoning;
        const { text, tokens } = this.#push(event.id, event.logprob);
        const pieces = this.#piecesOf(text);
        if (wasReasoning || this.#isReasoning) this.reasoningTokens++;
        if (pieces.length > 0 || tokens.length > 0) yield* this.#partsOf(pieces, tokens);
        return;
      }
      case "finish":
        yield* this.#end(event);
    }
  }

  #piecesOf(text: string): readonly OutputPiece[] {
    if (text === "") return [];
    return this.#output?.push(text) ?? [{ kind: "text", text }];
  }

  /** One part for each stretch of text, reasoning or calls; the first has the tokens. */
  *#partsOf(pieces: readonly OutputPiece[], tokens: Assembled["tokens"]): Iterable<ChoicePart> {
    if (pieces.length === 0) yield this.#part({ text: "", tokens });
    for (const [at, piece] of pieces.entries()) {
      const part = this.#part({ text: piece.kind === "text" ? piece.text : "", tokens: at === 0 ? tokens : [] });
      yield {
        ...part,
        reasoning: piece.kind === "reasoning" ? piece.text : "",
        calls: piece.kind === "call" ? [piece.delta] : [],
      };
    }
  }

  /** A stop token has text only if the request asks for it. */
  #push(id: number, logprob: TokenLogprob | null): Assembled {
    if (!this.#stopIds.has(id)) this.#generated++;
    else if (!this.#request.includesStop) return nothing;
    return this.#assembler.push(id, logprob);
  }

  *#end(event: Finish): Iterable<ChoicePart> {
    this.#generated = event.completionTokens;
    const { text, tokens } = this.#assembler.finish();
    const pieces = [...this.#piecesOf(text), ...(this.#output?.finish() ?? [])];
    const parts = [...this.#partsOf(pieces, tokens)];
    const end = last(parts);
    yield* parts.slice(0, -1);
    yield {
      ...end,
      usage: { ...end.usage, cachedTokens: event.timings.cachedTokens },
      finish: event.reason === "length" && !this.stopped ? "length" : this.#hasCalled ? "tool_calls" : "stop",
      stopString: this.#assembler.stop,
    };
  }

  get #isReasoning(): boolean {
    return this.#output?.isReasoning ?? false;
  }

  get #hasCalled(): boolean {
    return (this.#output?.calls ?? 0) > 0;
  }

  /** The prompt at the start of an echo; without log-probabilities, only its text. */
  #echo(logprobs: readonly (TokenLogprob | null)[]): ChoicePart {
    const prompt = promptPieces(this.#tokenizer, this.#sequence.prompt, logprobs, this.#request.keepsSpecialTokens);
    this.#assembler = this.#assemblerAt(characterCount(prompt.text));
    const tokens = logprobs.length > 0 ? prompt.tokens : [];
    return { ...this.#part({ text: prompt.text, tokens }), echoedTokens: tokens.length };
  }

  #part({ text, tokens }: Assembled): ChoicePart {
    const isFirst = !this.#hasBegun;
    this.#hasBegun = true;
    const { index, prompt } = this.#sequence;
    return {
      index,
      isFirst,
      text,
      reasoning: "",
      calls: [],
      tokens,
      promptIds: isFirst && this.#request.returnTokenIds ? prompt.ids : null,
      echoedTokens: 0,
      promptLogprobs: null,
      usage: {
        promptTokens: prompt.ids.length,
        completionTokens: this.#generated,
        reasoningTokens: this.reasoningTokens,
        cachedTokens: 0,
      },
      finish: null,
      stopString: null,
    };
  }

  #assemblerAt(offset: number): Assembler {
    const request = this.#request;
    return new Assembler(this.#tokenizer, {
      ...request,
      stops: stopsOf(request, this.#sequence.request.sampling.grammar),
      markers: outputMarkers(this.#sequence.output),
      before: this.#sequence.continued,
      offset,
    });
  }
}

/** The engine computes as many alternatives as the largest use needs; this keeps only the requested number. */
function withTop(logprobs: readonly (TokenLogprob | null)[], count: number): readonly (TokenLogprob | null)[] {
  return logprobs.map((entry) => entry && { ...entry, top: entry.top.slice(0, count) });
}

function faultOf(event: Finish): LorikeetError | null {
  switch (event.reason) {
    case "stop":
    case "length":
      return null;
    case "error":
      return asFault(event.error);
    case "cancelled":
      return new LorikeetError("cancelled", "The request was cancelled.");
    case "shutdown":
      return new LorikeetError("draining", "The server is shutting down and ended this request.");
  }
}
