/**
 * The step loop: admit, plan, run, commit. Sequences join and leave between any two steps; whatever ends one passes
 * through `#finish`, which returns everything it held.
 */

import type { HostAdapter } from "../adapter/types.js";
import { Alarm, within } from "../base/async.js";
import { assert, LorikeetError } from "../base/errors.js";
import { at } from "../base/list.js";
import { type Logger, silent } from "../base/log.js";
import type { BankHold } from "./adapters/bank.js";
import { Admission } from "./admission.js";
import type { EngineParts } from "./parts.js";
import type { Pooler } from "./pooler.js";
import { checkRequest } from "./request-check.js";
import type { DecodeRow } from "./runner.js";
import { createSamplerState, Sampler } from "./sampling/sampler.js";
import { RowFault } from "./sampling/scan.js";
import { type Chunk, findMove, plan, type Task } from "./scheduler.js";
import { scoresOf } from "./score-head.js";
import { Sequence } from "./sequence.js";
import { Slots } from "./slots.js";
import { statsOf } from "./stats.js";
import type { AdapterHold } from "./steps.js";
import type {
  Engine,
  EngineLimits,
  EngineListener,
  EngineObserver,
  EngineRequest,
  EngineStats,
  FinishReason,
  SequenceHandle,
  TokenLogprob,
} from "./types.js";

/** How long closing waits for the step that runs. */
const closeMs = 5_000;
/** Bytes that may be moved between two steps to close a hole. */
const maxMoveBytes = 32 << 20;

export class ContinuousEngine<Held = HostAdapter, Hold extends AdapterHold = BankHold> implements Engine {
  readonly limits: EngineLimits;
  readonly #parts: EngineParts<Held, Hold>;
  readonly #slots: Slots<Sequence<Held, Hold>>;
  readonly #admission: Admission<Held, Hold>;
  readonly #sampler: Sampler;
  readonly #observer: EngineObserver;
  readonly #logger: Logger;
  readonly #now: () => number;
  #nextId = 1;
  #draining = false;
  #closing = false;
  /** Set when the device is lost: nothing is computed any more. */
  #lost: LorikeetError | null = null;
  /** Rings when something changed that the loop should look at. */
  readonly #alarm = new Alarm();
  #prefillRate: number;
  readonly #loop: Promise<void>;
  readonly #idle = new Set<() => void>();

  constructor(parts: EngineParts<Held, Hold>) {
    this.#parts = parts;
    this.limits = parts.limits;
    this.#observer = parts.observer ?? {};
    this.#logger = parts.logger ?? silent;
    this.#now = parts.now ?? (() => performance.now());
    this.#slots = new Slots(parts.limits.maxBatch);
    this.#sampler = new Sampler(parts.vocabSize);
    this.#prefillRate = parts.prefillRate;
    this.#admission = new Admission({
      slots: this.#slots,
      bank: parts.bank,
      adapters: parts.adapters,
      limits: parts.limits,
      prepare: (adapter, { pooling }) => parts.runner.prepare(adapter, pooling ? "hidden" : "logits"),
      observer: this.#observer,
      admitted: (sequence) => this.#admitted(sequence),
      failed: (sequence, error) => this.#finish(sequence, "error", { error }),
    });
    this.#loop = this.#run();
    parts.device?.onLost((error) => this.#lose(error));
  }

  submit(request: EngineRequest, listener: EngineListener | null = null): SequenceHandle {
    if (this.#lost) throw this.#lost;
    if (this.#draining || this.#closing) throw new LorikeetError("draining", "The server is shutting down.");
    const { vocabSize, promptVocabSize = vocabSize, encodesPrompts = false, startIds = [] } = this.#parts;
    checkRequest(request, promptVocabSize, this.limits);
    const state = createSamplerState(request.sampling, encodesPrompts ? startIds : request.promptIds);
    const sequence = new Sequence<Held, Hold>(this.#nextId++, request, state, this.#now(), listener);
    sequence.onChange = () => this.#changed(sequence);
    this.#admission.enqueue(sequence);
    sequence.listen(request.signal);
    if (request.signal?.aborted) sequence.end("cancelled");
    // A free slot is taken at once: its adapter is copied while the step that runs now goes on.
    if (!this.#closing) this.#admission.admit();
    this.#alarm.ring();
    return sequence;
  }

  preparePooling(): Promise<void> {
    return this.#parts.runner.prepare(null, "hidden");
  }

  /** Ending, resuming or reading may let the loop go on; a sequence that never started ends at once. */
  #changed(sequence: Sequence<Held, Hold>): void {
    if (sequence.ending && sequence.phase !== "running") this.#finish(sequence, sequence.ending);
    this.#alarm.ring();
  }

  #admitted(sequence: Sequence<Held, Hold>): void {
    sequence.phase = "running";
    sequence.admittedAt = this.#now();
    sequence.emit({ type: "admitted", queueMs: sequence.admittedAt - sequence.submittedAt });
    this.#alarm.ring();
  }

  async #run(): Promise<void> {
    while (!this.#closing) {
      this.#alarm.reset();
      this.#endFinished();
      this.#admission.admit();
      await this.#tidy();
      const tasks = this.#tasks();
      const budget = (this.#prefillRate * this.#parts.maxStallMs) / 1000;
      const next = plan(tasks, Math.floor(budget), {
        maxChunk: this.#parts.maxChunk,
        wholePrompts: this.#parts.encodesPrompts ?? false,
      });
      if (next.prefill.length === 0 && next.decode.length === 0) {
        this.#notifyIdle();
        await this.#alarm.sleep();
        continue;
      }
      for (const chunk of next.prefill) await this.#guard([chunk.slot], () => this.#prefill(chunk));
      if (next.decode.length > 0) await this.#guard(next.decode, () => this.#decode(next.decode));
      // Sockets and timers get their turn between two steps.
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.#endAll();
    await this.#parts.dispose?.();
  }

  #endAll(): void {
    for (const [, sequence] of [...this.#slots.held()]) this.#finish(sequence, "shutdown");
    for (const sequence of [...this.#admission.waiting()]) this.#finish(sequence, "shutdown");
  }

  /** Ends every sequence with the loss of the device, and refuses new ones. */
  #lose(error: LorikeetError): void {
    this.#lost = error;
    const sequences = [...this.#slots.held()].map(([, sequence]) => sequence);
    for (const sequence of [...sequences, ...this.#admission.waiting()]) this.#finish(sequence, "error", { error });
    this.#alarm.ring();
  }

  #endFinished(): void {
    for (const [, sequence] of [...this.#slots.held()]) {
      if (sequence.ending) this.#finish(sequence, sequence.ending);
    }
  }

  /** Closes holes in the batch and in the bank when no sequence is about to fill them. */
  async #tidy(): Promise<void> {
    if (this.#admission.busy) return;
    const { cache, bank } = this.#parts;
    const move = findMove(this.#tasks(), this.#slots.lowestFree(), cache.tokensWithin(maxMoveBytes));
    if (move) {
      // Before the copy is awaited, so that a sequence admitted meanwhile does not take the freed slot.
      this.#slots.move(move.from, move.to);
      const sequence = this.#slots.owner(move.to);
      if (sequence) sequence.slot = move.to;
      await cache.copy(move.from, move.to, move.tokens);
    }
    if (bank.scattered) await bank.compact();
  }

  #tasks(): Task[] {
    return [...this.#slots.held()].flatMap(([, sequence]) =>
      sequence.phase === "running" ? [sequence.task(this.#parts.maxChunk)] : [],
    );
  }

  /** A fault of a run ends the sequences that it ran, and only those. */
  async #guard(slots: readonly number[], step: () => Promise<void>): Promise<void> {
    try {
      await step();
    } catch (cause) {
      this.#fail(slots, cause);
    }
  }

  #fail(slots: readonly number[], cause: unknown): void {
    const error = cause instanceof Error ? cause : new Error(String(cause));
    this.#logger.error({ err: error, slots }, "a step failed");
    for (const slot of slots) {
      const sequence = this.#slots.owner(slot);
      if (sequence?.ending) this.#finish(sequence, sequence.ending);
      else if (sequence) this.#finish(sequence, "error", { error: namingAdapter(error, sequence.request) });
    }
  }

  async #prefill(chunk: Chunk): Promise<void> {
    const { runner, cache, bank } = this.#parts;
    const sequence = this.#slots.owner(chunk.slot);
    if (!sequence || sequence.ending) return;
    const started = this.#now();
    const tokens = sequence.tokens.slice(chunk.start, chunk.start + chunk.tokens);
    const { pooler } = sequence;
    const allRows = pooler?.readsAll ?? sequence.promptLogprobs !== null;
    const { slot, start } = chunk;
    const { firstId } = sequence.request;
    const part = {
      ...{ slot, start, tokens, length: sequence.readTokens, allRows, adapter: sequence.hold },
      ...(firstId !== undefined && { firstId }),
    };
    const found = await runner.prefill({ ...part, output: pooler ? "hidden" : "logits" }, cache, bank);
    const seconds = (this.#now() - started) / 1000;
    this.#measurePrefill(chunk.tokens, seconds);
    const adapters = sequence.hold ? 1 : 0;
    this.#observer.step?.({ kind: "prefill", seconds, rows: 1, adapters, tokens: chunk.tokens });
    if (sequence.phase === "finished") return; // nobody waited for this chunk any more
    sequence.computed = chunk.start + chunk.tokens;
    if (pooler) {
      pooler.add(start, chunk.tokens, found);
      if (chunk.last) this.#endPooled(sequence, pooler);
      return;
    }
    if (allRows) this.#score(sequence, chunk, found);
    if (!chunk.last) return;
    if (sequence.promptLogprobs) sequence.emit({ type: "prompt", logprobs: sequence.promptLogprobs });
    sequence.promptLogprobs = null; // a text that is read again is not scored again
    if (sequence.request.maxTokens === 0) this.#finish(sequence, "length");
    else this.#commit(sequence, found.subarray(found.length - this.#parts.vocabSize));
  }

  #endPooled(sequence: Sequence<Held, Hold>, pooler: Pooler): void {
    const { vector, classified } = pooler.finish();
    const head = this.#parts.headOf?.(sequence.lease?.adapter ?? null) ?? null;
    const scores = head && scoresOf(head, classified);
    const bad = [...vector, ...(scores ?? [])].find((value) => !Number.isFinite(value));
    if (bad !== undefined) {
      throw new RowFault("runtime_failed", `The model computed ${bad} in a hidden state of this text.`, { found: bad });
    }
    sequence.emit({ type: "pooled", vector, scores, labels: head?.labels ?? null });
    this.#finish(sequence, "stop");
  }

  /** Short chunks measure overhead, not speed. */
  #measurePrefill(tokens: number, seconds: number): void {
    if (tokens < 32 || seconds <= 0) return;
    this.#prefillRate = 0.7 * this.#prefillRate + 0.3 * (tokens / seconds);
  }

  #score(sequence: Sequence<Held, Hold>, chunk: Chunk, logits: Float32Array): void {
    const { vocabSize } = this.#parts;
    const { request, promptLogprobs } = sequence;
    assert(promptLogprobs && request.promptLogprobs !== null, "a prompt is scored where that was asked for");
    for (let i = 0; i < chunk.tokens; i++) {
      const next = request.promptIds[chunk.start + i + 1];
      if (next === undefined) break;
      const row = logits.subarray(i * vocabSize, (i + 1) * vocabSize);
      promptLogprobs.push(this.#sampler.tokenLogprob(row, next, request.promptLogprobs));
    }
  }

  async #decode(slots: readonly number[]): Promise<void> {
    const { runner, cache, bank, vocabSize } = this.#parts;
    const live = slots.filter((slot) => {
      const sequence = this.#slots.owner(slot);
      return sequence && !sequence.ending;
    });
    const last = live.at(-1);
    if (last === undefined) return;
    const rows: DecodeRow<Hold>[] = [];
    for (let slot = 0; slot <= last; slot++) rows.push(this.#row(slot, live.includes(slot)));
    if (this.#parts.evenRows && rows.length % 2 === 1) rows.push(this.#row(rows.length, false));
    const started = this.#now();
    const isLikeliest = live.every((slot) => {
      const sequence = this.#slots.owner(slot);
      return sequence !== null && this.#sampler.takesLikeliest(sequence.state);
    });
    const found =
      isLikeliest && runner.decodeLikeliest
        ? await runner.decodeLikeliest(rows, cache, bank)
        : await runner.decode(rows, cache, bank);
    const seconds = (this.#now() - started) / 1000;
    const adapters = new Set(rows.flatMap(({ adapter }) => (adapter ? [adapter.digest] : [])));
    this.#observer.step?.({ kind: "decode", seconds, rows: live.length, adapters: adapters.size, tokens: live.length });
    for (const slot of live) {
      const sequence = this.#slots.owner(slot);
      if (!sequence && (this.#closing || this.#lost)) continue; // nobody waited for this step any more
      assert(sequence, `slot ${slot} is held while it decodes`);
      sequence.computed++;
      try {
        if (found instanceof Float32Array) {
          this.#commit(sequence, found.subarray(slot * vocabSize, (slot + 1) * vocabSize));
        } else this.#take(sequence, at(found, slot));
      } catch (cause) {
        this.#fail([slot], cause); // a row from which no token can be chosen does not end its neighbours
      }
    }
  }

  /**
   * A row that does not decode now writes after its own tokens, where the next real one overwrites it, and leaves its states
   * as they are.
   */
  #row(slot: number, live: boolean): DecodeRow<Hold> {
    const sequence = this.#slots.owner(slot);
    if (!sequence) return { token: 0, length: 0, adapter: null, keepsStates: true };
    if (!live) return { token: 0, length: sequence.computed, adapter: null, keepsStates: true };
    return { token: at(sequence.tokens, sequence.computed), length: sequence.computed, adapter: sequence.hold };
  }

  /** Samples a row's next token and ends the sequence if that is the last. */
  #commit(sequence: Sequence<Held, Hold>, logits: Float32Array): void {
    if (sequence.ending) {
      this.#finish(sequence, sequence.ending);
      return;
    }
    const { id, logprob } = this.#sampler.sample(logits, sequence.state);
    this.#append(sequence, id, logprob);
  }

  /** The likeliest token, as the device found it. */
  #take(sequence: Sequence<Held, Hold>, id: number): void {
    if (sequence.ending) {
      this.#finish(sequence, sequence.ending);
      return;
    }
    sequence.state.accept(id);
    this.#append(sequence, id, null);
  }

  #append(sequence: Sequence<Held, Hold>, id: number, logprob: TokenLogprob | null): void {
    sequence.firstTokenAt ??= this.#now();
    sequence.ticket?.use(1);
    const { stopIds, emitsStop, forcedEndId, maxTokens } = sequence.request;
    const isEnd = stopIds.includes(id);
    if (!isEnd && forcedEndId !== undefined && sequence.generated + 1 >= maxTokens) {
      sequence.tokens.push(forcedEndId);
      const sure = logprob && { id: forcedEndId, logprob: 0, top: [] };
      if (emitsStop) sequence.emit({ type: "token", id: forcedEndId, logprob: sure });
      this.#finish(sequence, "length");
      return;
    }
    sequence.tokens.push(id);
    if (isEnd) {
      if (emitsStop) sequence.emit({ type: "token", id, logprob });
      this.#finish(sequence, "stop", { stopId: id });
      return;
    }
    sequence.emit({ type: "token", id, logprob });
    if (sequence.state.isOver) this.#finish(sequence, "stop");
    else if (sequence.generated >= maxTokens) this.#finish(sequence, "length");
    else if (sequence.computed === this.#parts.rereadLength) sequence.reread();
  }

  /** The one way out: returns slot, bank hold and lease, and tells the reader. */
  #finish(sequence: Sequence<Held, Hold>, reason: FinishReason, why: { stopId?: number; error?: Error } = {}): void {
    if (sequence.phase === "finished") return;
    sequence.phase = "finished";
    sequence.unlisten();
    this.#admission.remove(sequence);
    sequence.ticket?.end();
    sequence.ticket = null;
    if (sequence.slot >= 0) this.#slots.release(sequence.slot);
    sequence.slot = -1;
    sequence.hold?.release();
    sequence.lease?.release();
    sequence.hold = null;
    sequence.lease = null;
    const first = sequence.firstTokenAt;
    sequence.emit({
      type: "finish",
      reason,
      stopId: why.stopId ?? null,
      error: why.error ?? null,
      promptTokens: sequence.promptTokens,
      completionTokens: sequence.generated,
      timings: {
        queueMs: (sequence.admittedAt ?? this.#now()) - sequence.submittedAt,
        timeToFirstTokenMs: first === null ? null : first - sequence.submittedAt,
        cachedTokens: 0,
      },
    });
    this.#admission.retry();
    this.#alarm.ring();
  }

  stats(): EngineStats {
    return statsOf(this.#slots, this.#admission, this.#parts.bank, this.#now());
  }

  /** Proves that slots and holds add up. */
  check(): void {
    this.#slots.check();
    this.#admission.check();
    const holds = [...this.#slots.held()].filter(([, sequence]) => sequence.hold).length;
    assert(holds === this.#parts.bank.holds, `${holds} sequences hold ${this.#parts.bank.holds} bank places`);
  }

  #notifyIdle(): void {
    if (this.#admission.waiting().next().done !== true || [...this.#slots.held()].length > 0) return;
    for (const resolve of this.#idle) resolve();
    this.#idle.clear();
  }

  async drain(graceMs: number): Promise<void> {
    this.#draining = true;
    const idle = new Promise<void>((resolve) => this.#idle.add(resolve));
    this.#alarm.ring();
    await within(Promise.race([idle, this.#loop]), graceMs);
    await this.close();
  }

  async close(graceMs = closeMs): Promise<void> {
    this.#closing = true;
    this.#alarm.ring();
    if (await within(this.#loop, graceMs)) return;
    this.#logger.warn({ graceMs }, "a step did not end in time; the engine is closed without it");
    this.#endAll();
  }
}

/** Logits of a row with an adapter are the adapter's fault: the base has computed finite ones since it started. */
function namingAdapter(error: Error, { adapter, adapterName, pooling }: EngineRequest): Error {
  if (adapter === null || !(error instanceof RowFault)) return error;
  const { found, allowed } = error;
  const wanted = pooling ? "hidden states" : "logits";
  const message =
    `With the adapter "${adapterName ?? adapter}" the model computed ${found} in place of ${wanted} for this prompt: products with ` +
    "the adapter's weights overflow float32.";
  return new LorikeetError("adapter_invalid", message, { param: "model", found, allowed, cause: error });
}
