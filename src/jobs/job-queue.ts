/**
 * Fine-tuning jobs that wait for a process, and those that have one. Knows when a job starts and how it is stopped; what clients may ask
 * of it is `jobs.ts`.
 */

import { LorikeetError } from "../base/errors.js";
import type { Logger } from "../base/log.js";
import type { JobBounds } from "./bounds.js";
import type { FileStore } from "./file-store.js";
import { faultOf, JobRun } from "./job-run.js";
import type { JobStore } from "./job-store.js";
import { Pausing, type PausingOptions } from "./pausing.js";
import type { JobRecord, TrainableBase, TrainingProcess } from "./types.js";

export interface JobQueueParts {
  readonly jobs: JobStore;
  readonly files: FileStore;
  readonly bases: readonly TrainableBase[];
  readonly bounds: JobBounds;
  /** Sequences that run or wait in the server. */
  readonly load: PausingOptions["load"];
  readonly publicText: (text: string) => string;
  readonly sharesRows: boolean;
  readonly logger: Logger;
  readonly now: () => number;
}

/** The weakest first: of two reasons to stop a run the stronger one counts. */
const stopReasons: readonly JobRun["reason"][] = ["shutdown", "paused", "cancelled"];

/** How long a job waits for memory before it asks again. */
const memoryMs = 10_000;

export class JobQueue implements AsyncDisposable {
  readonly #parts: JobQueueParts;
  readonly #running = new Map<string, { readonly run: JobRun; readonly ended: Promise<void> }>();
  readonly #failing = new Set<Promise<void>>();
  readonly #pausing: Pausing;
  #waiting: NodeJS.Timeout | null = null;
  #isOpen = false;
  #isClosed = false;

  constructor(parts: JobQueueParts) {
    this.#parts = parts;
    const forEach = (act: (process: TrainingProcess) => void): void => {
      for (const { run } of this.#running.values()) if (run.process) act(run.process);
    };
    this.#pausing = new Pausing({
      load: parts.load,
      pauseAt: parts.bounds.pauseTrainingAt,
      suspend: () => forEach((process) => process.suspend()),
      proceed: () => forEach((process) => process.proceed()),
    });
  }

  /** Starts jobs from now on, unless the queue was closed. */
  open(): void {
    if (this.#isClosed) return;
    this.#isOpen = true;
    this.startNext();
  }

  isRunning(id: string): boolean {
    return this.#running.has(id);
  }

  /** Seconds for which jobs were stopped because the server was busy. */
  get pausedSeconds(): number {
    return this.#pausing.seconds;
  }

  /** Starts jobs while there are turns: of the owner with the fewest running, the oldest. */
  startNext(): void {
    if (!this.#isOpen) return;
    while (this.#running.size < this.#parts.bounds.maxTrainingJobs) {
      const next = this.#next();
      if (!next) break;
      const base = this.#baseWithMemory(next);
      if (!base) break;
      this.#start(next, base);
    }
    this.#pausing.watch(this.#running.size > 0);
  }

  /** Stops the run of a job, if it has one. One that does not end in time is killed, and later resumes from its last checkpoint. */
  async stop(id: string, reason: NonNullable<JobRun["reason"]>): Promise<void> {
    const running = this.#running.get(id);
    if (!running) return;
    const { run, ended } = running;
    if (run.reason === null || stopReasons.indexOf(reason) > stopReasons.indexOf(run.reason)) run.reason = reason;
    run.process?.proceed();
    if (reason === "cancelled") run.process?.kill();
    else run.process?.stop();
    const timer = setTimeout(() => run.process?.kill(), this.#parts.bounds.stopMs);
    await ended.finally(() => clearTimeout(timer));
  }

  /** Stops what runs, at a checkpoint. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOpen = false;
    this.#isClosed = true;
    if (this.#waiting !== null) clearTimeout(this.#waiting);
    await Promise.all([...this.#running.keys()].map((id) => this.stop(id, "shutdown")));
    await Promise.all(this.#failing);
    this.#pausing.watch(false);
  }

  #next(): JobRecord | null {
    const { jobs } = this.#parts;
    const owners = [...this.#running.keys()].map((id) => jobs.find(id)?.owner);
    const runningOf = ({ owner }: JobRecord): number => owners.filter((each) => each === owner).length;
    const queued = jobs.list().filter(({ id, status }) => status === "queued" && !this.#running.has(id));
    return queued.sort((a, b) => runningOf(a) - runningOf(b) || a.createdAt - b.createdAt)[0] ?? null;
  }

  /** null: a job that can never have the memory has failed; one that cannot have it now is asked for again later. */
  #baseWithMemory(job: JobRecord): TrainableBase | null {
    const base = this.#parts.bases.find(({ names }) => names.includes(job.model));
    const lacks = base?.memoryFault() ?? null;
    if (base && lacks === null) return base;
    if (lacks?.isPassing) {
      this.#waiting ??= setTimeout(() => {
        this.#waiting = null;
        this.startNext();
      }, memoryMs).unref();
      return null;
    }
    const fault =
      lacks?.fault ?? new LorikeetError("model_not_found", `The base \`${job.model}\` is no longer served.`);
    const failing = this.#fail(job.id, fault).finally(() => this.#failing.delete(failing));
    this.#failing.add(failing);
    return null;
  }

  async #fail(id: string, fault: LorikeetError): Promise<void> {
    const { jobs, logger, now } = this.#parts;
    try {
      await jobs.change(id, { status: "failed", finishedAt: now(), error: faultOf(fault) });
      await jobs.note(id, { level: "error", message: fault.message, data: null }, now());
      await jobs.clear(id);
    } catch (error) {
      logger.error({ job: id, err: error }, "A failed fine-tuning job could not be recorded");
    }
    this.startNext();
  }

  #start(job: JobRecord, base: TrainableBase): void {
    const { jobs, logger } = this.#parts;
    const run = new JobRun(job.id, { ...this.#parts, base });
    const ended = run
      .run(() => this.#pausing.isSuspended)
      .then(() => {
        this.#running.delete(job.id);
        const { status } = jobs.find(job.id) ?? job;
        logger.info({ job: job.id, status }, "fine-tuning job left its process");
        this.startNext();
      });
    this.#running.set(job.id, { run, ended });
    logger.info({ job: job.id, model: job.model }, "fine-tuning job started");
  }
}
