/**
 * The jobs of a fine-tuning API: a bounded queue, a few processes at once, and what clients may do with a job. Jobs survive the server: one
 * that was running when the server stopped resumes from its last checkpoint.
 */
import { LorikeetError } from "../base/errors.js";
import { type Logger, silent } from "../base/log.js";
import type { FileStore } from "./file-store.js";
import { chooseHyperparameters } from "./hyperparameters.js";
import { newJobId } from "./ids.js";
import { faultOf, JobRun } from "./job-run.js";
import type { JobStore } from "./job-store.js";
import { Pausing, type PausingOptions } from "./pausing.js";
import type { JobEvent, JobRecord, JobRequest, JobStatus, TrainableBase, TrainingProcess } from "./types.js";

export interface JobBounds {
  /** Jobs that train at once. */
  readonly maxTrainingJobs: number;
  /** Jobs that may wait. */
  readonly maxTrainingQueue: number;
  /** Jobs that are kept, ended ones too. */
  readonly maxJobs: number;
  /** How long an ended job is kept. */
  readonly jobTtlMs: number;
  /** How long a process may take to save and end. */
  readonly stopMs: number;
  readonly pauseTrainingAt: number;
}

export const jobDefaults: JobBounds = {
  maxTrainingJobs: 1,
  maxTrainingQueue: 16,
  maxJobs: 1_000,
  jobTtlMs: 90 * 24 * 3_600_000,
  stopMs: 20_000,
  pauseTrainingAt: 1,
};

export interface JobsParts {
  readonly jobs: JobStore;
  readonly files: FileStore;
  readonly bases: readonly TrainableBase[];
  readonly bounds?: Partial<JobBounds>;
  /** Sequences that run or wait in the server. */
  readonly load: PausingOptions["load"];
  readonly publicText?: (text: string) => string;
  readonly logger?: Logger;
  readonly now?: () => number;
}

export interface JobStats {
  readonly byStatus: Readonly<Record<JobStatus, number>>;
  /** Seconds for which jobs were stopped because the server was busy. */
  readonly pausedSeconds: number;
}

/** The weakest first: of two reasons to stop a run the stronger one counts. */
const stopReasons: readonly JobRun["reason"][] = ["shutdown", "paused", "cancelled"];

const hasEnded = ({ status }: Pick<JobRecord, "status">): boolean =>
  ["succeeded", "failed", "cancelled"].includes(status);

/** How long a job waits for memory before it asks again. */
const memoryMs = 10_000;
const sweepMs = 3_600_000;

export class Jobs implements AsyncDisposable {
  readonly #parts: JobsParts;
  readonly #bounds: JobBounds;
  readonly #logger: Logger;
  readonly #now: () => number;
  readonly #running = new Map<string, { readonly run: JobRun; readonly ended: Promise<void> }>();
  readonly #failing = new Set<Promise<void>>();
  /** Jobs that are being created: they count against bounds. */
  #adding = 0;
  readonly #pausing: Pausing;
  readonly #sweeping: NodeJS.Timeout;
  #waiting: NodeJS.Timeout | null = null;
  #isOpen = false;
  #isClosed = false;

  constructor(parts: JobsParts) {
    this.#parts = parts;
    this.#bounds = { ...jobDefaults, ...parts.bounds };
    this.#logger = parts.logger ?? silent;
    this.#now = parts.now ?? Date.now;
    const forEach = (act: (process: TrainingProcess) => void): void => {
      for (const { run } of this.#running.values()) if (run.process) act(run.process);
    };
    this.#pausing = new Pausing({
      load: parts.load,
      pauseAt: this.#bounds.pauseTrainingAt,
      suspend: () => forEach((process) => process.suspend()),
      proceed: () => forEach((process) => process.proceed()),
    });
    this.#sweeping = setInterval(() => void this.sweep().catch(() => {}), sweepMs).unref();
  }

  /** Starts to run jobs: those that an earlier server left come first. */
  async start(): Promise<void> {
    const { jobs } = this.#parts;
    for (const { id } of jobs.list()) {
      const job = jobs.find(id); // clients may change jobs meanwhile
      if (!job) continue;
      if (hasEnded(job)) await jobs.clear(id);
      else if (job.status !== "paused") await jobs.change(id, { status: "queued", estimatedFinish: null });
    }
    await this.sweep();
    if (this.#isClosed) return;
    this.#isOpen = true;
    this.#pump();
  }

  /** Throws LorikeetError `model_not_found`, `file_not_found`, `invalid_value`, `training_queue_full` or `store_full`. */
  async create(owner: string, request: JobRequest): Promise<JobRecord> {
    const { jobs, files } = this.#parts;
    const { hyperparameters: _, seed, ...asked } = request;
    this.#baseOf(request.model);
    const training = this.#trainable(owner, request.trainingFile, "training_file");
    if (request.validationFile !== null) this.#trainable(owner, request.validationFile, "validation_file");
    this.#requireTurn(["queued", "paused"]); // paused ones hold files too, and never expire
    const job: JobRecord = {
      id: newJobId(),
      owner,
      ...asked,
      hyperparameters: chooseHyperparameters(request, training.lines),
      seed: seed ?? Math.floor(Math.random() * 2 ** 31),
      status: "queued",
      createdAt: this.#now(),
      finishedAt: null,
      estimatedFinish: null,
      error: null,
      adapter: null,
      resultFiles: [],
      trainedTokens: null,
      heldOut: null,
      checkpoints: [],
    };
    this.#adding++;
    try {
      await this.#requireRoom();
      await jobs.add(job, async ({ data }) => {
        await files.linkTo(owner, request.trainingFile, `${data}/train.jsonl`, "training_file");
        const { validationFile } = request;
        if (validationFile !== null)
          await files.linkTo(owner, validationFile, `${data}/valid.jsonl`, "validation_file");
      });
    } finally {
      this.#adding--;
    }
    await this.#say(job.id, "info", `Created fine-tuning job: ${job.id}`);
    this.#pump();
    return jobs.find(job.id) ?? job;
  }

  /** Throws LorikeetError `job_not_found`. */
  get(owner: string, id: string): JobRecord {
    return this.#parts.jobs.get(owner, id);
  }

  /** The owner's jobs, oldest first. */
  list(owner: string): JobRecord[] {
    return this.#parts.jobs.list().filter((job) => job.owner === owner);
  }

  /** Oldest first. Throws LorikeetError `job_not_found`. */
  events(owner: string, id: string): Promise<JobEvent[]> {
    return this.#parts.jobs.events(this.get(owner, id).id);
  }

  /** Ends a job. Throws LorikeetError `job_not_found`, or `conflict` for one that has ended. */
  async cancel(owner: string, id: string): Promise<JobRecord> {
    const { jobs } = this.#parts;
    requireStatus(this.get(owner, id), ["queued", "validating_files", "running", "paused"], "cancelled");
    // One that was just stopped for another reason may be paused now, or even run again.
    for (let running = this.#running.get(id); running; running = this.#running.get(id)) {
      await this.#end(running, "cancelled");
    }
    if (!hasEnded(this.get(owner, id))) {
      await jobs.change(id, { status: "cancelled", finishedAt: this.#now() });
      await this.#say(id, "info", "The job was cancelled");
      await jobs.clear(id);
    }
    return this.get(owner, id);
  }

  /** Stops a job at a checkpoint; others take its place. Throws LorikeetError `job_not_found`, or `conflict` for one that has ended or is paused. */
  async pause(owner: string, id: string): Promise<JobRecord> {
    requireStatus(this.get(owner, id), ["queued", "validating_files", "running"], "paused");
    const running = this.#running.get(id);
    if (running) await this.#end(running, "paused");
    else {
      await this.#parts.jobs.change(id, { status: "paused" });
      await this.#say(id, "info", "The job was paused");
    }
    return this.get(owner, id);
  }

  /** Throws LorikeetError `job_not_found`, `conflict` for one that is not paused, or `training_queue_full`. */
  async resume(owner: string, id: string): Promise<JobRecord> {
    requireStatus(this.get(owner, id), ["paused"], "resumed");
    this.#requireTurn(["queued"]);
    await this.#parts.jobs.change(id, { status: "queued" });
    await this.#say(id, "info", "The job was resumed");
    this.#pump();
    return this.get(owner, id);
  }

  /** The name of the base that a job trains for, as in `ft:` names. */
  baseNameOf({ model }: Pick<JobRecord, "model">): string {
    return this.#parts.bases.find(({ names }) => names.includes(model))?.names[0] ?? model;
  }

  stats(): JobStats {
    const byStatus = { validating_files: 0, queued: 0, running: 0, paused: 0, succeeded: 0, failed: 0, cancelled: 0 };
    for (const { status } of this.#parts.jobs.list()) byStatus[status]++;
    return { byStatus, pausedSeconds: this.#pausing.seconds };
  }

  /** Removes jobs that ended long ago. */
  async sweep(): Promise<void> {
    const { jobs, files } = this.#parts;
    const before = this.#now() - this.#bounds.jobTtlMs;
    for (const job of jobs.list()) if (hasEnded(job) && (job.finishedAt ?? 0) < before) await jobs.remove(job.id);
    await files.sweep();
  }

  /** Stops what runs, at a checkpoint. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOpen = false;
    this.#isClosed = true;
    clearInterval(this.#sweeping);
    if (this.#waiting !== null) clearTimeout(this.#waiting);
    await Promise.all([...this.#running.values()].map((running) => this.#end(running, "shutdown")));
    await Promise.all(this.#failing);
    this.#pausing.watch(false);
  }

  #baseOf(model: string): TrainableBase {
    const base = this.#parts.bases.find(({ names }) => names.includes(model));
    if (base) return base;
    const names = this.#parts.bases.map((each) => `\`${each.names[0]}\``).join(", ");
    const others = names === "" ? "this server has none" : `available: ${names}`;
    throw new LorikeetError("model_not_found", `\`model\` is not a base that can be fine-tuned; ${others}.`, {
      param: "model",
    });
  }

  #trainable(owner: string, id: string, param: string) {
    const file = this.#parts.files.get(owner, id, param);
    if (file.purpose !== "fine-tune") {
      const message = `\`${param}\` must be a file with the purpose "fine-tune"; this one has "${file.purpose}".`;
      throw new LorikeetError("invalid_value", message, { param });
    }
    if (file.lines > 0) return file;
    throw new LorikeetError("invalid_value", `\`${param}\` must be a file with at least one line; this one has none.`, {
      param,
    });
  }

  /** Bounds the jobs that wait in one of these states. */
  #requireTurn(states: readonly JobStatus[]): void {
    const listed = this.#parts.jobs
      .list()
      .filter(({ id, status }) => states.includes(status) && !this.#running.has(id));
    const waiting = listed.length + this.#adding;
    const { maxTrainingQueue: allowed } = this.#bounds;
    if (waiting < allowed) return;
    const message = states.includes("paused")
      ? `${waiting} fine-tuning jobs are waiting or paused; at most ${allowed} may be.`
      : `${waiting} fine-tuning jobs are waiting; at most ${allowed} may wait.`;
    throw new LorikeetError("training_queue_full", message, { param: "max-training-queue", found: waiting, allowed });
  }

  /** Drops the oldest ended jobs past the bound. */
  async #requireRoom(): Promise<void> {
    const { jobs } = this.#parts;
    const { maxJobs: allowed } = this.#bounds;
    while (jobs.list().length + this.#adding > allowed) {
      const oldest = jobs.list().find(hasEnded);
      if (!oldest) {
        const message = `${allowed} fine-tuning jobs are kept, none of which has ended; no more are allowed.`;
        throw new LorikeetError("training_queue_full", message, { param: "max-jobs", found: allowed, allowed });
      }
      await jobs.remove(oldest.id);
    }
  }

  /** Starts jobs while there are turns: of the owner with the fewest running, the oldest. */
  #pump(): void {
    if (!this.#isOpen) return;
    while (this.#running.size < this.#bounds.maxTrainingJobs) {
      const next = this.#next();
      if (!next) break;
      if (!this.#hasMemory(next)) break;
      this.#start(next);
    }
    this.#pausing.watch(this.#running.size > 0);
  }

  #next(): JobRecord | null {
    const { jobs } = this.#parts;
    const owners = [...this.#running.keys()].map((id) => jobs.find(id)?.owner);
    const runningOf = ({ owner }: JobRecord): number => owners.filter((each) => each === owner).length;
    const queued = jobs.list().filter(({ id, status }) => status === "queued" && !this.#running.has(id));
    return queued.sort((a, b) => runningOf(a) - runningOf(b) || a.createdAt - b.createdAt)[0] ?? null;
  }

  /** Fails a job that can never have the memory; one that cannot have it now is asked for again later. */
  #hasMemory(job: JobRecord): boolean {
    const base = this.#parts.bases.find(({ names }) => names.includes(job.model));
    const lacks = base?.memoryFault() ?? null;
    if (base && lacks === null) return true;
    if (lacks?.isPassing) {
      this.#waiting ??= setTimeout(() => {
        this.#waiting = null;
        this.#pump();
      }, memoryMs).unref();
      return false;
    }
    const fault =
      lacks?.fault ?? new LorikeetError("model_not_found", `The base \`${job.model}\` is no longer served.`);
    const failing = this.#fail(job.id, fault).finally(() => this.#failing.delete(failing));
    this.#failing.add(failing);
    return false;
  }

  async #fail(id: string, fault: LorikeetError): Promise<void> {
    const { jobs } = this.#parts;
    try {
      await jobs.change(id, { status: "failed", finishedAt: this.#now(), error: faultOf(fault) });
      await this.#say(id, "error", fault.message);
      await jobs.clear(id);
    } catch (error) {
      this.#logger.error({ job: id, err: error }, "A failed fine-tuning job could not be recorded");
    }
    this.#pump();
  }

  #start(job: JobRecord): void {
    const { jobs, files, publicText = (text: string) => text } = this.#parts;
    const base = this.#baseOf(job.model);
    const parts = { jobs, files, base, logger: this.#logger, now: this.#now, publicText };
    const run = new JobRun(job.id, parts);
    const ended = run
      .run(() => this.#pausing.isSuspended)
      .then(() => {
        this.#running.delete(job.id);
        const { status } = jobs.find(job.id) ?? job;
        this.#logger.info({ job: job.id, status }, "fine-tuning job left its process");
        this.#pump();
      });
    this.#running.set(job.id, { run, ended });
    this.#logger.info({ job: job.id, model: job.model }, "fine-tuning job started");
  }

  /** Stops a run. One that does not end in time is killed, and later resumes from its last checkpoint. */
  async #end(
    { run, ended }: { readonly run: JobRun; readonly ended: Promise<void> },
    reason: NonNullable<JobRun["reason"]>,
  ): Promise<void> {
    if (run.reason === null || stopReasons.indexOf(reason) > stopReasons.indexOf(run.reason)) run.reason = reason;
    run.process?.proceed();
    if (reason === "cancelled") run.process?.kill();
    else run.process?.stop();
    const timer = setTimeout(() => run.process?.kill(), this.#bounds.stopMs);
    await ended.finally(() => clearTimeout(timer));
  }

  #say(id: string, level: JobEvent["level"], message: string): Promise<void> {
    return this.#parts.jobs.note(id, { level, message, data: null }, this.#now());
  }
}

function requireStatus({ status }: JobRecord, allowed: readonly JobStatus[], what: string): void {
  if (allowed.includes(status)) return;
  const states = [allowed.slice(0, -1).join(", "), ...allowed.slice(-1)].filter(Boolean).join(" or ");
  const message = `Only a job that is ${states} can be ${what}; this one is ${status}.`;
  throw new LorikeetError("conflict", message, { param: "fine_tuning_job_id", found: status, allowed });
}
