/**
 * The queue of grammars to compile. Clients take turns, measured in milliseconds of compilation: one client's expensive grammars delay
 * another's by at most the running one. Requests for the same grammar share its compilation.
 */
import { type Deferred, deferred } from "../base/async.js";
import { LorikeetError } from "../base/errors.js";
import { FairQueue, type Ticket } from "../base/fair-queue.js";
import type { Grammar } from "./grammar.js";
import type { CompileMessage } from "./worker/main.js";

interface Job {
  readonly key: string;
  readonly message: CompileMessage;
  readonly entries: Map<object, Entry>;
}

/** A job in the queue of one of the clients that wait for it. */
interface Entry {
  readonly job: Job;
  readonly client: object;
  readonly answer: Deferred<Grammar>;
  /** null until it is queued. */
  ticket: Ticket | null;
  requests: number;
}

const turnMs = 20;

export class CompileQueue {
  readonly #compile: (key: string, message: CompileMessage) => Promise<Grammar>;
  readonly #maxWaiting: number;
  readonly #queue = new FairQueue<object, Entry>({ turn: turnMs });
  readonly #jobs = new Map<string, Job>();
  #running: Entry | null = null;

  constructor(compile: (key: string, message: CompileMessage) => Promise<Grammar>, maxWaiting: number) {
    this.#compile = compile;
    this.#maxWaiting = maxWaiting;
  }

  /** Grammars that wait or are compiled, however many clients wait for each. */
  get size(): number {
    return this.#jobs.size;
  }

  /** Throws LorikeetError `grammar_queue_full`, the signal's reason, or what `compile` throws. */
  async request(key: string, message: CompileMessage, client: object, signal?: AbortSignal): Promise<Grammar> {
    signal?.throwIfAborted();
    const entry = this.#jobs.get(key)?.entries.get(client) ?? this.#push(key, message, client);
    entry.requests++;
    const ended = deferred<never>();
    const abort = (): void => {
      if (--entry.requests === 0 && entry !== this.#running) this.#drop(entry);
      ended.reject(signal?.reason);
    };
    signal?.addEventListener("abort", abort, { once: true });
    try {
      this.#next();
      return await Promise.race([entry.answer.promise, ended.promise]);
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  #push(key: string, message: CompileMessage, client: object): Entry {
    if (!this.#jobs.has(key) && this.size >= this.#maxWaiting) this.#makeRoom(client);
    const job = this.#jobs.get(key) ?? { key, message, entries: new Map<object, Entry>() };
    this.#jobs.set(key, job);
    const entry: Entry = { job, client, answer: deferred(), ticket: null, requests: 0 };
    entry.answer.promise.catch(() => {}); // every request may have been aborted
    job.entries.set(client, entry);
    entry.ticket = this.#queue.push(client, entry, { known: 0, expected: turnMs });
    return entry;
  }

  /** The client with the most waiting grammars loses its newest one, which may be the current request's. */
  #makeRoom(client: object): void {
    const fault = new LorikeetError(
      "grammar_queue_full",
      `${this.size} grammars wait to be compiled; at most ${this.#maxWaiting} may (--max-grammar-queue).`,
    );
    const longest = this.#queue.newestOfLongest();
    if (!longest || longest.waiting <= this.#queue.waitingOf(client) + 1) throw fault;
    this.#drop(longest.item);
    longest.item.answer.reject(fault);
  }

  #drop({ job, client, ticket }: Entry): void {
    ticket?.end();
    job.entries.delete(client);
    if (job.entries.size === 0) this.#jobs.delete(job.key);
  }

  #next(): void {
    if (this.#running) return;
    this.#running = this.#queue.next();
    if (this.#running) void this.#run(this.#running);
  }

  async #run(entry: Entry): Promise<void> {
    const { job, ticket } = entry;
    const startedAt = performance.now();
    let settle: (answer: Deferred<Grammar>) => void;
    try {
      const grammar = await this.#compile(job.key, job.message);
      settle = (answer) => answer.resolve(grammar);
    } catch (error) {
      settle = (answer) => answer.reject(error);
    }
    ticket?.use(Math.ceil(performance.now() - startedAt));
    for (const other of [...job.entries.values()]) {
      this.#drop(other);
      settle(other.answer);
    }
    this.#running = null;
    this.#next();
  }
}
