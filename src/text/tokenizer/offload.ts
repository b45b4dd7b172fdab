/**
 * Encodes off the event loop, in one worker thread that starts with the first long text. Connections take turns, measured in
 * characters. The thread keeps the process alive only while a text is waiting.
 */

import { type Deferred, deferred } from "../../base/async.js";
import { LorikeetError } from "../../base/errors.js";
import { FairQueue, type Ticket } from "../../base/fair-queue.js";
import { startThread } from "../../base/threads.js";
import type { EncodeReply, EncodeRequest } from "./encode-worker.js";
import type { TokenizerFiles } from "./encoder.js";

interface Job {
  readonly request: EncodeRequest;
  readonly answer: Deferred<number[]>;
  /** null until it is queued. */
  ticket: Ticket | null;
}

export interface OffloadOptions {
  /** How long an abandoned text may occupy the thread before the thread is terminated. */
  readonly abandonedMs?: number;
  /** Starts the thread; for tests. */
  readonly start?: () => Thread;
}

/** The interface of a worker thread used here. */
export interface Thread {
  on(event: "message", listener: (reply: EncodeReply) => void): unknown;
  on(event: "error", listener: (error: Error) => void): unknown;
  on(event: "exit", listener: (code: number) => void): unknown;
  postMessage(request: EncodeRequest): void;
  ref(): void;
  unref(): void;
  terminate(): Promise<number>;
}

/** Characters of one turn. */
const turnCharacters = 2048;
/** Long enough for ordinary texts to finish: a new thread must load the tokenizer first. */
const abandonedMs = 1_000;
/** The connection of texts without one. */
const nobody = {};

const closedError = (): LorikeetError =>
  new LorikeetError("cancelled", "The tokenizer was closed before the text was encoded.");

const abortError = (): LorikeetError =>
  new LorikeetError("cancelled", "The request was cancelled before its text was encoded.");

export class Offload implements AsyncDisposable {
  readonly #abandonedMs: number;
  readonly #startThread: () => Thread;
  readonly #queue = new FairQueue<object, Job>({ turn: turnCharacters });
  #worker: Thread | null = null;
  #running: Job | null = null;
  #deadline: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(files: TokenizerFiles, options: OffloadOptions = {}) {
    this.#abandonedMs = options.abandonedMs ?? abandonedMs;
    this.#startThread =
      options.start ??
      (() => startThread(import.meta.url, "encode-worker", { workerData: files, name: "lorikeet-encode" }));
  }

  /** Number of waiting texts, including the one being encoded. */
  get pending(): number {
    return this.#queue.size + (this.#running ? 1 : 0);
  }

  /** @throws LorikeetError `cancelled` if the signal aborts or `close` is called first, `internal` if the worker fails. */
  async encode(request: EncodeRequest, signal?: AbortSignal, connection: object = nobody): Promise<number[]> {
    if (this.#closed) throw closedError();
    if (signal?.aborted) throw abortError();
    const job: Job = { request, answer: deferred(), ticket: null };
    const abort = (): void => this.#abandon(job);
    signal?.addEventListener("abort", abort, { once: true });
    const { length } = request.text;
    job.ticket = this.#queue.push(connection, job, { known: length, expected: length });
    this.#next();
    try {
      return await job.answer.promise;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  /** Terminates the worker, even in the middle of a text, and rejects every waiting text. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#deadline);
    this.#settle()?.answer.reject(closedError());
    for (const job of [...this.#queue.waiting()]) {
      job.ticket?.end();
      job.answer.reject(closedError());
    }
    const worker = this.#worker;
    this.#worker = null;
    await worker?.terminate();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Removes a waiting text. A text being encoded has `abandonedMs` to finish before its thread is terminated. */
  #abandon(job: Job): void {
    job.answer.reject(abortError());
    if (job !== this.#running) {
      job.ticket?.end();
      return;
    }
    const worker = this.#worker;
    this.#deadline = setTimeout(() => {
      if (!worker || job !== this.#running) return;
      this.#lost(worker, "its text was abandoned");
      void worker.terminate();
    }, this.#abandonedMs);
  }

  #next(): void {
    if (this.#running) return;
    this.#running = this.#queue.next();
    if (!this.#running) {
      this.#worker?.unref();
      return;
    }
    this.#worker ??= this.#start();
    this.#worker.ref();
    this.#worker.postMessage(this.#running.request);
  }

  /** Ends the current text, whatever its result. */
  #settle(): Job | null {
    const job = this.#running;
    this.#running = null;
    clearTimeout(this.#deadline);
    job?.ticket?.end();
    return job;
  }

  #start(): Thread {
    const worker = this.#startThread();
    worker.on("message", (reply: EncodeReply) => this.#finish(worker, reply));
    worker.on("error", (error) => this.#lost(worker, error.message));
    worker.on("exit", (code) => this.#lost(worker, `it ended with code ${code}`));
    return worker;
  }

  #finish(worker: Thread, reply: EncodeReply): void {
    if (worker !== this.#worker) return;
    const job = this.#settle();
    if ("ids" in reply) job?.answer.resolve(Array.from(reply.ids));
    else job?.answer.reject(failed(reply.fault));
    this.#next();
  }

  /** A worker that dies fails its text; the next text gets a new worker. */
  #lost(worker: Thread, reason: string): void {
    if (worker !== this.#worker) return;
    this.#worker = null;
    this.#settle()?.answer.reject(failed(reason));
    this.#next();
  }
}

const failed = (reason: string): LorikeetError =>
  new LorikeetError("internal", `The thread that encodes text failed: ${reason}.`);
