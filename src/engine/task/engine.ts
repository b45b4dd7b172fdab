/**
 * The task engine's loop: start jobs whose turn it is, collect rows of one shape, run them, hand out their outputs. Whatever ends a job
 * passes through `#finish`, which returns everything it held.
 */

import type { AdapterSource, HostTaskAdapter } from "../../adapter/types.js";
import { Alarm, deferred, within } from "../../base/async.js";
import { assert, hasCode, LorikeetError } from "../../base/errors.js";
import { FairQueue } from "../../base/fair-queue.js";
import { at } from "../../base/list.js";
import { type Logger, silent } from "../../base/log.js";
import type { EngineLimits, EngineObserver, EngineStats } from "../types.js";
import type { TaskBank } from "./bank.js";
import { Job } from "./job.js";
import { cutToWidths, type OutputWidths } from "./output-widths.js";
import type { RunRow, TaskRunner } from "./runner.js";
import type { Stacks } from "./stacks.js";
import type { TaskEngine, TaskJob, TaskPort, TaskRequest, TaskSignature, TaskTensor } from "./types.js";

export interface TaskEngineParts {
  readonly runner: TaskRunner;
  readonly bank: TaskBank;
  readonly adapters: AdapterSource<HostTaskAdapter> | null;
  readonly signature: TaskSignature;
  readonly limits: Omit<EngineLimits, "maxContext">;
  /** Outputs that whole layers of other sizes change: these are cut to the adapter's own size. */
  readonly widthsOf: (adapter: HostTaskAdapter | null) => OutputWidths;
  readonly observer?: EngineObserver;
  readonly logger?: Logger;
  readonly now?: () => number;
  readonly dispose?: () => Promise<void>;
}

/** How long closing waits for the run in progress. */
const closeMs = 5_000;
/** Adapters that may load at once for jobs whose turn has come. */
const maxLoading = 16;

/** Pairs of tokens that the attention of a run compares, in one head: 16 texts of 1024 tokens. */
const mostPairs = 16 * 1024 ** 2;

/** Long texts keep a core busy alone, and the memory of their attention grows with the square of their length: fewer share a run. */
function rowsOfRun({ inputs }: TaskRequest, maxBatch: number): number {
  const length = inputs.get("input_ids")?.shape[1] ?? 0;
  return Math.max(1, Math.min(maxBatch, Math.floor(mostPairs / Math.max(1, length ** 2))));
}

export class BatchingEngine implements TaskEngine {
  readonly limits: Omit<EngineLimits, "maxContext">;
  readonly signature: TaskSignature;
  readonly #parts: TaskEngineParts;
  readonly #queue = new FairQueue<string | null, Job>({ turn: 1 });
  /** Jobs whose turn has come and whose adapter is being loaded; each adapter loads for one of its jobs at a time. */
  readonly #loading = new Map<string, Job>();
  /** Jobs that may run, in order. */
  #ready: Job[] = [];
  #running: readonly Job[] = [];
  /** Stops the run in progress, once nobody waits for any of its rows. */
  #stop = new AbortController();
  readonly #logger: Logger;
  readonly #now: () => number;
  readonly #idle = new Set<() => void>();
  #draining = false;
  #closing = false;
  readonly #alarm = new Alarm();
  readonly #loop: Promise<void>;

  constructor(parts: TaskEngineParts) {
    this.#parts = parts;
    this.limits = parts.limits;
    this.signature = parts.signature;
    this.#logger = parts.logger ?? silent;
    this.#now = parts.now ?? (() => performance.now());
    this.#loop = this.#run();
  }

  async outputsOf(digest: string | null): Promise<readonly TaskPort[]> {
    const { adapters, widthsOf } = this.#parts;
    const { outputs } = this.signature;
    if (digest === null || !adapters) return outputs;
    const lease = await adapters.acquire(digest);
    try {
      const widths = widthsOf(lease.adapter);
      return outputs.map((port) => {
        const own = widths.get(port.name);
        return own === undefined || !port.shape ? port : { ...port, shape: port.shape.with(own.axis, own.width) };
      });
    } finally {
      lease.release();
    }
  }

  submit(request: TaskRequest): TaskJob {
    if (this.#draining || this.#closing) throw new LorikeetError("draining", "The server is shutting down.");
    this.#makeRoom(request.adapter);
    const job = new Job(request, this.#now());
    job.ticket = this.#queue.push(request.adapter, job, { known: 1, expected: 1 });
    if (request.adapter !== null) this.#parts.adapters?.prefetch(request.adapter);
    job.listen(() => this.#finish(job, new LorikeetError("cancelled", "The client left.")));
    this.#alarm.ring();
    return job;
  }

  /** A full queue accepts a job of an adapter with fewer waiting ones, and drops the newest of the adapter with the most. */
  #makeRoom(adapter: string | null): void {
    const { maxQueue, maxAdapterQueue, maxBatch } = this.limits;
    // Jobs that the next run has room for do not count as queued.
    const room = Math.max(0, maxBatch - this.#ready.length - this.#running.length);
    const own = this.#queue.waitingOf(adapter) - room;
    const queued = this.#queue.size - room;
    if (own >= maxAdapterQueue && queued < maxQueue) throw adapterQueueFull(adapter, own, maxAdapterQueue);
    if (queued < maxQueue) return;
    const details = { found: queued, allowed: maxQueue };
    const fault = new LorikeetError(
      "queue_full",
      `The queue is full: ${maxQueue === 1 ? "1 request waits" : `${maxQueue} requests wait`} already.`,
      details,
    );
    const longest = this.#queue.newestOfLongest();
    if (!longest || longest.waiting <= this.#queue.waitingOf(adapter) + 1) throw fault;
    this.#finish(longest.item, fault);
  }

  async #run(): Promise<void> {
    while (!this.#closing) {
      this.#alarm.reset();
      await this.#gather();
      const batch = this.#takeBatch();
      if (batch.length === 0) {
        this.#notifyIdle();
        await this.#alarm.sleep();
        continue;
      }
      this.#running = batch;
      this.#stop = new AbortController();
      await this.#runBatch(batch).catch((cause: unknown) => this.#fail(batch, cause));
      this.#running = [];
      // Sockets and timers get their turn between two runs.
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.#endAll();
    await this.#parts.dispose?.();
  }

  /** Starts jobs. Adapters in memory are leased within a turn of the event loop, one job of each at a time, so it takes a few turns. */
  async #gather(): Promise<void> {
    this.#startJobs();
    for (let count = -1; this.#loading.size > 0 && this.#ready.length > count; ) {
      count = this.#ready.length;
      await new Promise((resolve) => setImmediate(resolve));
      this.#startJobs();
    }
  }

  /** Takes jobs from the queue in turn: those of the base are ready, others once their adapter is in memory. */
  #startJobs(): void {
    const mayStart = (adapter: string | null): boolean => {
      if (this.#ready.length >= this.limits.maxBatch) return false;
      return adapter === null || (!this.#loading.has(adapter) && this.#loading.size < maxLoading);
    };
    for (let job = this.#queue.next(mayStart); job; job = this.#queue.next(mayStart)) {
      const { adapter } = job.request;
      job.phase = "starting";
      if (adapter === null) this.#ready.push(job);
      else {
        this.#loading.set(adapter, job);
        void this.#load(job, adapter);
      }
    }
  }

  async #load(job: Job, digest: string): Promise<void> {
    const { adapters, bank, observer } = this.#parts;
    try {
      if (!adapters) throw new LorikeetError("adapter_not_found", `No adapter can be loaded: asked for ${digest}.`);
      const lease = await adapters.acquire(digest);
      job.lease = lease;
      if (job.phase !== "finished") await bank.prepare(lease.adapter);
      observer?.adapterLoaded?.({ digest, from: lease.from, seconds: lease.loadMs / 1000 });
      if (job.phase !== "finished") this.#ready.push(job);
    } catch (cause) {
      this.#fail([job], cause);
    } finally {
      if (this.#loading.get(digest) === job) this.#loading.delete(digest);
      if (job.phase === "finished") job.release();
      this.#alarm.ring();
    }
  }

  /** The oldest ready job, with those that can run beside it. */
  #takeBatch(): Job[] {
    const [first] = this.#ready;
    if (!first) return [];
    const maxRows = this.signature.isBatched ? rowsOfRun(first.request, this.limits.maxBatch) : 1;
    const adapters: HostTaskAdapter[] = [];
    const taken = new Set<Job>();
    for (const job of this.#ready) {
      if (taken.size === maxRows) break;
      const adapter = job.lease?.adapter ?? null;
      // Rows without adapters run in the plain graph: their bits do not depend on who has one.
      if (job.shape !== first.shape || (adapter === null) !== (first.lease === null)) continue;
      if (adapter && !adapters.some(({ digest }) => digest === adapter.digest)) {
        if (!this.#parts.bank.holds([...adapters, adapter])) continue;
        adapters.push(adapter);
      }
      taken.add(job);
    }
    this.#ready = this.#ready.filter((job) => !taken.has(job));
    return [...taken];
  }

  async #runBatch(batch: readonly Job[]): Promise<void> {
    const { bank, observer } = this.#parts;
    const started = this.#now();
    const adapters = [...new Set(batch.flatMap(({ lease }) => lease?.adapter ?? []))];
    const placed = adapters.length === 0 ? null : await bank.place(adapters);
    const places = new Map(adapters.map((adapter, index) => [adapter.digest, placed?.places[index] ?? 0]));
    for (const job of batch) job.admit(this.#now());
    const live = batch.filter(({ phase }) => phase !== "finished");
    if (live.length === 0) return;
    const widths = live.map(({ lease }) => this.#parts.widthsOf(lease?.adapter ?? null));
    const rows = live.map(({ request, lease }) => ({
      inputs: request.inputs,
      place: places.get(lease?.adapter.digest ?? "") ?? 0,
    }));
    const outputs = await this.#outputs(rows, placed?.stacks ?? null);
    const seconds = (this.#now() - started) / 1000;
    observer?.step?.({ kind: "batch", seconds, rows: live.length, adapters: adapters.length, tokens: 0 });
    for (const [row, job] of live.entries()) {
      const found = outputs[row];
      assert(found, "a row has outputs");
      this.#finish(job, found instanceof Error ? found : cutToWidths(found, at(widths, row)));
    }
  }

  /** If the rows fail together, each runs alone: one that the model refuses ends by itself. */
  async #outputs(
    rows: readonly RunRow[],
    stacks: Stacks | null,
  ): Promise<readonly (ReadonlyMap<string, TaskTensor> | Error)[]> {
    const { runner } = this.#parts;
    try {
      return await runner.run(rows, stacks, this.#stop.signal);
    } catch (error) {
      if (!hasCode(error, "runtime_failed")) throw error;
      if (rows.length === 1) return [refusedInputs(error)];
      const alone: (ReadonlyMap<string, TaskTensor> | Error)[] = [];
      for (const row of rows) alone.push(...(await this.#outputs([row], stacks)));
      return alone;
    }
  }

  #fail(jobs: readonly Job[], cause: unknown): void {
    const error = cause instanceof Error ? cause : new Error(String(cause));
    if (!(error instanceof LorikeetError) || error.status >= 500) {
      this.#logger.error({ err: error, rows: jobs.length }, "A run failed");
    }
    for (const job of jobs) this.#finish(job, error);
  }

  /** The one way out: returns ticket and lease, and settles the job. */
  #finish(job: Job, ending: Error | ReadonlyMap<string, TaskTensor>): void {
    if (!job.settle(ending)) return;
    this.#ready = this.#ready.filter((other) => other !== job);
    if (this.#running.includes(job)) {
      this.#running = this.#running.filter((other) => other !== job);
      if (this.#running.length === 0) this.#stop.abort();
    }
    // A job that still loads returns its lease once it has it.
    if (this.#loading.get(job.request.adapter ?? "") !== job) job.release();
    this.#alarm.ring();
  }

  stats(): EngineStats {
    const now = this.#now();
    const heads = [...this.#queue.heads()];
    const starting = [...this.#loading.values(), ...this.#ready];
    const digestsOf = (jobs: Iterable<Job>): string[] => [
      ...new Set([...jobs].flatMap(({ request: { adapter } }) => adapter ?? [])),
    ];
    return {
      running: this.#running.length,
      waiting: this.#queue.size + starting.length,
      queues: heads.map(([adapter]) => ({ adapter, waiting: this.#queue.waitingOf(adapter) })),
      oldestWaitMs: heads.length === 0 ? 0 : now - Math.min(...heads.map(([, { submittedAt }]) => submittedAt)),
      slots: { decoding: this.#running.length, prefilling: 0, idle: this.limits.maxBatch - this.#running.length },
      runningAdapters: digestsOf(this.#running),
      waitingAdapters: digestsOf([...this.#queue.waiting(), ...starting]),
      activeAdapterBytes: this.#parts.bank.bytes,
      activeAdapters: this.#parts.bank.digests,
    };
  }

  /** Proves that the queue adds up. */
  check(): void {
    this.#queue.check();
  }

  #notifyIdle(): void {
    if (this.#queue.size + this.#loading.size > 0) return;
    for (const resolve of this.#idle) resolve();
    this.#idle.clear();
  }

  #endAll(): void {
    const error = new LorikeetError("draining", "The server is shutting down.");
    for (const job of [...this.#running, ...this.#ready, ...this.#loading.values(), ...this.#queue.waiting()]) {
      this.#finish(job, error);
    }
  }

  async drain(graceMs: number): Promise<void> {
    this.#draining = true;
    const idle = deferred<void>();
    this.#idle.add(() => idle.resolve());
    this.#alarm.ring();
    await within(Promise.race([idle.promise, this.#loop]), graceMs);
    await this.close();
  }

  async close(graceMs = closeMs): Promise<void> {
    this.#closing = true;
    this.#alarm.ring();
    if (await within(this.#loop, graceMs)) return;
    this.#logger.warn({ graceMs }, "a run did not end in time; the engine is closed without it");
    this.#endAll();
  }
}

/** Inputs of the right names, types and sizes that the graph still cannot compute, such as a text that is longer than its positions. */
function refusedInputs(cause: LorikeetError): LorikeetError {
  // ONNX Runtime's own sentence names its source files.
  const [, operator, node] = /while running (\w+) node\. Name:'([^']*)'/.exec(cause.message) ?? [];
  const which = operator === undefined ? "a node" : `the ${operator} node ${JSON.stringify(node?.slice(0, 100))}`;
  return new LorikeetError(
    "invalid_value",
    `The model cannot compute these inputs: ${which} of its graph refuses them.`,
    {
      param: "inputs",
      cause,
    },
  );
}

function adapterQueueFull(adapter: string | null, found: number, allowed: number): LorikeetError {
  const whose = adapter === null ? "the base model" : "this adapter";
  const message = `${found} requests wait for ${whose} already; at most ${allowed} may (--max-adapter-queue).`;
  return new LorikeetError("adapter_queue_full", message, { param: "model", found, allowed });
}
