/** The use case of generating an answer: read, resolve, hold, prefetch, encode, submit, and release everything at its one end. */
import { LorikeetError } from "../base/errors.js";
import type { Logger } from "../base/log.js";
import type { Engine } from "../engine/types.js";
import type { GrammarCompiler } from "../grammar/compiler.js";
import type { Grammar } from "../grammar/grammar.js";
import type { GrammarSource } from "../grammar/source.js";
import type { Tokenizer } from "../text/types.js";
import type { ActivityBook, ActivityTicket } from "./activity.js";
import { Answer } from "./answer.js";
import type { Catalog, Target } from "./catalog.js";
import { answerFormOf } from "./chat-formats.js";
import { Deadline } from "./deadline.js";
import type { EncodeBudget } from "./encode-budget.js";
import { asFault } from "./fault.js";
import { Generation, type GenerationEnd } from "./generation.js";
import { type GatewayObserver, type RequestSummary, type Route, summaryOf } from "./observer.js";
import type { RequestBounds } from "./options.js";
import { continuesPrompt, planSequences, requireRoom, type SequencePlan } from "./plan.js";
import { charactersOf, encodePrompts, type PromptContext, renderPrompts } from "./prompts.js";
import { type GenerationRequest, paramsOf } from "./requests.js";
import type { SamplingDefaults } from "./sampling.js";
import { planShortened } from "./shorten-chat.js";

export interface CompleterDeps {
  readonly engine: Engine;
  readonly tokenizer: Tokenizer | null;
  /** null without a tokenizer. */
  readonly grammars: GrammarCompiler | null;
  /** The tokenizer drops the first space of a text. */
  readonly dropsFirstSpace: boolean;
  readonly catalog: Catalog;
  readonly activity: ActivityBook;
  readonly observer: GatewayObserver;
  readonly logger: Logger;
  readonly bounds: RequestBounds;
  readonly prompts: PromptContext;
  readonly encoding: EncodeBudget;
  /** Why the model generates nothing; null if it does. */
  readonly refusal: LorikeetError | null;
  readonly stopIds: readonly number[];
  readonly forcedEndId: number | null;
  readonly defaults: SamplingDefaults;
}

/** What a request counts as, and how its body is read: reading is part of the call, so a body that cannot be read is counted too. */
export interface Reading<Request extends GenerationRequest> {
  readonly route: Route;
  read(): Request | Promise<Request>;
  /** Called once the engine has accepted the request, before it is admitted. */
  submitted?(): void;
}

export class Completer {
  readonly #deps: CompleterDeps;

  constructor(deps: CompleterDeps) {
    this.#deps = deps;
  }

  /** Resolves at admission: the adapter is leased and a slot is held. Rejects with a LorikeetError. `connection` identifies the client for fair turns. */
  async complete<Request extends GenerationRequest>(
    { route, read, submitted }: Reading<Request>,
    signal: AbortSignal,
    connection: object = signal,
  ): Promise<Answer<Request>> {
    const call = new Call(route, this.#deps.activity, this.#deps.observer);
    const deadline = new Deadline(this.#deps.bounds, signal);
    try {
      const request = await read();
      if (this.#deps.refusal) throw this.#deps.refusal;
      const target = this.#deps.catalog.resolve(request.model, request.adapters, paramsOf(request).model);
      call.hold(target);
      const sequences = await planShortened(request, (each) => this.#plan(each, target, deadline, connection));
      return await this.#run(call, request, sequences, target, deadline, submitted);
    } catch (error) {
      deadline.release();
      const fault = asFault(error);
      call.end(fault, null);
      throw fault;
    }
  }

  async #plan(request: GenerationRequest, target: Target, deadline: Deadline, connection: object) {
    const { tokenizer, bounds, defaults, stopIds, forcedEndId, prompts, encoding, catalog } = this.#deps;
    const rendered = renderPrompts(request, prompts);
    const release = encoding.reserve(connection, charactersOf(rendered), (fault) => deadline.end(fault));
    try {
      catalog.prefetch(target);
      const encoded = await encodePrompts(rendered, prompts, {
        signal: deadline.signal,
        connection,
        param: paramsOf(request).prompt,
        accept: (tokens) => requireRoom(request, tokens, bounds),
      });
      const { output, grammar } = answerFormOf(request, rendered.prompts[0], tokenizer, prompts.formats);
      return planSequences(request, encoded, {
        grammar: grammar && (await this.#compile(grammar, request, deadline, connection)),
        output,
        tokenizer,
        maxContext: bounds.maxContext,
        maxGenerated: bounds.maxGenerated,
        encodesPrompts: prompts.encodesPrompts,
        maxLogprobEntries: bounds.maxLogprobEntries,
        ...{ stopIds, forcedEndId },
        defaults,
        weightsDigest: target.weightsDigest,
        adapterName: target.adapter,
      });
    } finally {
      release();
    }
  }

  /** Compiled while the request may still end. */
  async #compile(
    grammar: GrammarSource,
    request: GenerationRequest,
    { signal }: Deadline,
    connection: object,
  ): Promise<Grammar> {
    const { grammars, dropsFirstSpace, prompts } = this.#deps;
    if (!grammars) {
      throw new LorikeetError(
        "tokenizer_missing",
        `The model has no tokenizer, so \`${grammar.param}\` cannot be held to.`,
        { param: grammar.param },
      );
    }
    return grammars.compile(grammar, connection, signal, dropsFirstSpace && !continuesPrompt(request, prompts));
  }

  async #run<Request extends GenerationRequest>(
    call: Call,
    request: Request,
    sequences: readonly SequencePlan[],
    target: Target,
    deadline: Deadline,
    submitted?: () => void,
  ): Promise<Answer<Request>> {
    const { logger } = this.#deps;
    const generation = new Generation(request, sequences, this.#deps);
    deadline.onEnd((fault) => generation.end(fault));
    const ended = generation.ended.then((end) => {
      deadline.release();
      if (end.error && end.error.status >= 500 && end.error.code !== "draining" && end.error.code !== "queue_timeout") {
        logger.error({ err: end.error, adapter: target.adapter }, "An answer failed");
      }
      return call.end(end.error, end);
    });
    call.handOver();
    if (!generation.hasFailed) submitted?.();
    const queueMs = await generation.admitted;
    deadline.admitted();
    call.admit();
    return new Answer(request, target, queueMs, generation, ended);
  }
}

/** What one call holds and how it is counted; it ends once, by itself or, after `handOver`, with its generation. */
class Call {
  readonly #route: Route;
  readonly #activity: ActivityBook;
  readonly #observer: GatewayObserver;
  readonly #startedAt = performance.now();
  #target: Target | null = null;
  /** One for each adapter. */
  #tickets: readonly ActivityTicket[] = [];
  #isHandedOver = false;

  constructor(route: Route, activity: ActivityBook, observer: GatewayObserver) {
    this.#route = route;
    this.#activity = activity;
    this.#observer = observer;
  }

  hold(target: Target): void {
    this.#target = target;
    this.#tickets = target.names.map((name) => this.#activity.begin(name));
  }

  admit(): void {
    for (const ticket of this.#tickets) ticket.admit();
  }

  /** From here only a GenerationEnd ends the call. */
  handOver(): void {
    this.#isHandedOver = true;
  }

  end(error: LorikeetError | null, end: GenerationEnd | null): RequestSummary {
    const summary = summaryOf(this.#route, this.#startedAt, this.#target, error, end);
    if (this.#isHandedOver && !end) return summary;
    for (const ticket of this.#tickets) ticket.end(end?.usage ?? null);
    this.#target?.release();
    this.#observer.ended?.(summary);
    return summary;
  }
}
