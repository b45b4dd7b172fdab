/**
 * Work off the event loop, in one worker thread that starts with the first request. Connections take turns, measured in the requests'
 * cost. The thread keeps the process alive only while a request is waiting.
 */

import { type Deferred, deferred } from "./async.js";
import { LorikeetError } from "./errors.js";
import { FairQueue, type Ticket } from "./fair-queue.js";

interface Job<Request, Reply> {
  readonly request: Request;
  readonly answer: Deferred<Reply>;
  /** null until it is queued. */
  ticket: Ticket | null;
}

/** The worker could not do its work at all. */
export interface WorkerFault {
  readonly fault: string;
}

export interface WorkerQueueOptions<Request, Reply> {
  readonly start: () => Thread<Request, Reply>;
  /** The cost of a turn. */
  readonly turn: number;
  /** What a request is, and what the thread does, for messages: "text" is "encoded". */
  readonly noun: string;
  readonly done: string;
  /** How long an abandoned request may occupy the thread before the thread is terminated. */
  readonly abandonedMs?: number | undefined;
}

/** The interface of a worker thread used here. */
export interface Thread<Request, Reply> {
  on(event: "message", listener: (reply: Reply | WorkerFault) => void): unknown;
  on(event: "error", listener: (error: Error) => void): unknown;
  on(event: "exit", listener: (code: number) => void): unknown;
  postMessage(request: Request): void;
  ref(): void;
  unref(): void;
  terminate(): Promise<number>;
}

/** Long enough for ordinary requests to finish: a new thread must load its files first. */
const defaultAbandonedMs = 1_000;
/** The connection of requests without one. */
const nobody = {};

export class WorkerQueue<Request, Reply extends object> implements AsyncDisposable {
  readonly #options: WorkerQueueOptions<Request, Reply>;
  readonly #queue: FairQueue<object, Job<Request, Reply>>;
  #worker: Thread<Request, Reply> | null = null;
  #running: Job<Request, Reply> | null = null;
  #deadline: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: WorkerQueueOptions<Request, Reply>) {
    this.#options = options;
    this.#queue = new FairQueue({ turn: options.turn });
  }

  /** Number of waiting requests, including the one in work. */
  get pending(): number {
    return this.#queue.size + (this.#running ? 1 : 0);
  }

  /** @throws LorikeetError `cancelled` if the signal aborts or `close` is called first, `internal` if the worker fails. */
  async run(request: Request, cost: number, signal?: AbortSignal, connection: object = nobody): Promise<Reply> {
    if (this.#closed) throw this.#closedError();
    if (signal?.aborted) throw this.#abortError();
    const job: Job<Request, Reply> = { request, answer: deferred(), ticket: null };
    const abort = (): void => this.#abandon(job);
    signal?.addEventListener("abort", abort, { once: true });
    job.ticket = this.#queue.push(connection, job, { known: cost, expected: cost });
    this.#next();
    try {
      return await job.answer.promise;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  /** Terminates the worker, even in the middle of a request, and rejects every waiting one. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#deadline);
    this.#settle()?.answer.reject(this.#closedError());
    for (const job of [...this.#queue.waiting()]) {
      job.ticket?.end();
      job.answer.reject(this.#closedError());
    }
    const worker = this.#worker;
    this.#worker = null;
    await worker?.terminate();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Removes a waiting request. One in work has `abandonedMs` to finish before its thread is terminated. */
  #abandon(job: Job<Request, Reply>): void {
    job.answer.reject(this.#abortError());
    if (job !== this.#running) {
      job.ticket?.end();
      return;
    }
    const worker = this.#worker;
    this.#deadline = setTimeout(() => {
      if (!worker || job !== this.#running) return;
      this.#lost(worker, `its ${this.#options.noun} was abandoned`);
      void worker.terminate();
    }, this.#options.abandonedMs ?? defaultAbandonedMs);
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

  /** Ends the current request, whatever its result. */
  #settle(): Job<Request, Reply> | null {
    const job = this.#running;
    this.#running = null;
    clearTimeout(this.#deadline);
    job?.ticket?.end();
    return job;
  }

  #start(): Thread<Request, Reply> {
    const worker = this.#options.start();
    worker.on("message", (reply) => this.#finish(worker, reply));
    worker.on("error", (error) => this.#lost(worker, error.message));
    worker.on("exit", (code) => this.#lost(worker, `it ended with code ${code}`));
    return worker;
  }

  #finish(worker: Thread<Request, Reply>, reply: Reply | WorkerFault): void {
    if (worker !== this.#worker) return;
    const job = this.#settle();
    if ("fault" in reply) job?.answer.reject(this.#failed(reply.fault));
    else job?.answer.resolve(reply);
    this.#next();
  }

  /** A worker that dies fails its request; the next request gets a new worker. */
  #lost(worker: Thread<Request, Reply>, reason: string): void {
    if (worker !== this.#worker) return;
    this.#worker = null;
    this.#settle()?.answer.reject(this.#failed(reason));
    this.#next();
  }

  #closedError(): LorikeetError {
    const { noun, done } = this.#options;
    return new LorikeetError("cancelled", `The ${noun} was not ${done}: the server is closing.`);
  }

  #abortError(): LorikeetError {
    const { noun, done } = this.#options;
    return new LorikeetError("cancelled", `The request was cancelled before its ${noun} was ${done}.`);
  }

  #failed(reason: string): LorikeetError {
    const { noun, done } = this.#options;
    return new LorikeetError("internal", `The thread in which each ${noun} is ${done} failed: ${reason}.`);
  }
}
