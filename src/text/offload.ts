/**
 * Encoding off the event loop: one worker thread, started with the first long text, that answers one text after another.
 * It keeps the process alive only while a text is waiting. Knows the worker's messages and nothing of tokens.
 */

import { Worker } from "node:worker_threads";
import { type Deferred, deferred } from "../base/async.js";
import { LorikeetError } from "../base/errors.js";
import type { EncodeReply, EncodeRequest } from "./encode-worker.js";
import type { TokenizerFiles } from "./encoder.js";

interface Job {
  readonly request: EncodeRequest;
  readonly answer: Deferred<number[]>;
}

const closedError = (): LorikeetError =>
  new LorikeetError("cancelled", "The tokenizer was closed before the text was encoded.");

const abortError = (): LorikeetError =>
  new LorikeetError("cancelled", "The request was cancelled before its text was encoded.");

export class Offload {
  readonly #files: TokenizerFiles;
  readonly #queue: Job[] = [];
  #worker: Worker | null = null;
  #running: Job | null = null;
  #closed = false;

  constructor(files: TokenizerFiles) {
    this.#files = files;
  }

  /** Texts waiting, the one in work included. */
  get pending(): number {
    return this.#queue.length + (this.#running ? 1 : 0);
  }

  /** @throws LorikeetError `cancelled` when the signal fires or `close` is called first, `internal` when the worker fails. */
  async encode(request: EncodeRequest, signal?: AbortSignal): Promise<number[]> {
    if (this.#closed) throw closedError();
    if (signal?.aborted) throw abortError();
    const job: Job = { request, answer: deferred() };
    const abort = (): void => {
      const place = this.#queue.indexOf(job);
      if (place >= 0) this.#queue.splice(place, 1);
      job.answer.reject(abortError());
    };
    signal?.addEventListener("abort", abort, { once: true });
    this.#queue.push(job);
    this.#next();
    try {
      return await job.answer.promise;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  /** Ends the worker, in the middle of a text if need be. Every text that waits is rejected. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const job of [this.#running, ...this.#queue.splice(0)]) job?.answer.reject(closedError());
    this.#running = null;
    const worker = this.#worker;
    this.#worker = null;
    await worker?.terminate();
  }

  #next(): void {
    if (this.#running) return;
    this.#running = this.#queue.shift() ?? null;
    if (!this.#running) {
      this.#worker?.unref();
      return;
    }
    this.#worker ??= this.#start();
    this.#worker.ref();
    this.#worker.postMessage(this.#running.request);
  }

  #start(): Worker {
    const worker = startThread(this.#files);
    worker.on("message", (reply: EncodeReply) => this.#finish(worker, reply));
    worker.on("error", (error) => this.#lost(worker, error.message));
    worker.on("exit", (code) => this.#lost(worker, `it ended with code ${code}`));
    return worker;
  }

  #finish(worker: Worker, reply: EncodeReply): void {
    if (worker !== this.#worker) return;
    const job = this.#running;
    this.#running = null;
    if ("ids" in reply) job?.answer.resolve(Array.from(reply.ids));
    else job?.answer.reject(failed(reply.fault));
    this.#next();
  }

  /** A worker that dies takes its own text with it; the next text gets a new worker. */
  #lost(worker: Worker, reason: string): void {
    if (worker !== this.#worker) return;
    this.#worker = null;
    const job = this.#running;
    this.#running = null;
    job?.answer.reject(failed(reason));
    this.#next();
  }
}

const failed = (reason: string): LorikeetError =>
  new LorikeetError("internal", `The thread that encodes text failed: ${reason}.`);

function startThread(files: TokenizerFiles): Worker {
  // The process's own flags may forbid a file as entry (--input-type), and none of them is needed here.
  const options = { workerData: files, name: "lorikeet-encode", execArgv: [] };
  if (!import.meta.url.endsWith(".ts")) return new Worker(new URL("./encode-worker.js", import.meta.url), options);
  // Run from sources: a thread does not inherit the loader that compiles them.
  const [loader, entry] = [import.meta.resolve("tsx/esm/api"), new URL("./encode-worker.ts", import.meta.url).href];
  const code = `import(${JSON.stringify(loader)}).then((tsx) => (tsx.register(), import(${JSON.stringify(entry)})))`;
  return new Worker(code, { ...options, eval: true });
}
