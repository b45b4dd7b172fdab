/**
 * The jobs of a fine-tuning API: what clients may do with them, within bounds. Jobs survive the server: one that was running when the
 * server stopped resumes from its last checkpoint.
 */

import { LorikeetError } from "../base/errors.js";
import { type Logger, silent } from "../base/log.js";
import { type JobBounds, jobDefaults } from "./bounds.js";
import type { FileStore } from "./file-store.js";
import { chooseHyperparameters } from "./hyperparameters.js";
import { newJobId } from "./ids.js";
import { JobQueue } from "./job-queue.js";
import type { JobStore } from "./job-store.js";
import type { PausingOptions } from "./pausing.js";
import type { JobEvent, JobFile, JobRecord, JobRequest, JobStatus, StoredFile, TrainableBase } from "./types.js";

export interface JobsParts {
  readonly jobs: JobStore;
  readonly files: FileStore;
  readonly bases: readonly TrainableBase[];
  /** Names of the bases that jobs do not train. */
  readonly others?: readonly string[];
  readonly bounds?: Partial<JobBounds>;
  /** Sequences that run or wait in the server. */
  readonly load: PausingOptions["load"];
  readonly publicText?: (text: string) => string;
  /** Whether everybody may see everybody's rows. Default: only those that their owner shows. */
  readonly sharesRows?: boolean;
  readonly logger?: Logger;
  readonly now?: () => number;
}

export interface JobStats {
  readonly byStatus: Readonly<Record<JobStatus, number>>;
  /** Seconds for which jobs were stopped because the server was busy. */
  readonly pausedSeconds: number;
}

const hasEnded = ({ status }: Pick<JobRecord, "status">): boolean =>
  ["succeeded", "failed", "cancelled"].includes(status);

const sweepMs = 3_600_000;

export class Jobs implements AsyncDisposable {
  readonly #parts: JobsParts;
  readonly #bounds: JobBounds;
  readonly #now: () => number;
  readonly #queue: JobQueue;
  /** Jobs that are being created: they count against bounds. */
  #adding = 0;
  readonly #sweeping: NodeJS.Timeout;

  constructor(parts: JobsParts) {
    const {
      jobs,
      files,
      bases,
      load,
      publicText = (text) => text,
      sharesRows = false,
      logger = silent,
      now = Date.now,
    } = parts;
    this.#parts = parts;
    this.#bounds = { ...jobDefaults, ...parts.bounds };
    this.#now = now;
    this.#queue = new JobQueue({ jobs, files, bases, bounds: this.#bounds, load, publicText, sharesRows, logger, now });
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
    this.#queue.open();
  }

  /** Throws LorikeetError `model_not_found`, `file_not_found`, `invalid_value`, `training_queue_full` or `store_full`. */
  async create(owner: string, request: JobRequest): Promise<JobRecord> {
    const { jobs, files } = this.#parts;
    const { hyperparameters: _, seed, ...asked } = request;
    this.#requireBase(request);
    const training = this.#trainable(owner, request.trainingFile, "training_file");
    const validation =
      request.validationFile === null ? null : this.#trainable(owner, request.validationFile, "validation_file");
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
      files: [fileOf("train", training), ...(validation ? [fileOf("valid", validation)] : [])],
      kept: null,
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
    this.#queue.startNext();
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
    while (this.#queue.isRunning(id)) await this.#queue.stop(id, "cancelled");
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
    if (this.#queue.isRunning(id)) await this.#queue.stop(id, "paused");
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
    this.#queue.startNext();
    return this.get(owner, id);
  }

  /** The name of the base that a job trains for, as in `ft:` names. */
  baseNameOf({ model }: Pick<JobRecord, "model">): string {
    return this.#parts.bases.find(({ names }) => names.includes(model))?.names[0] ?? model;
  }

  /** What jobs train for a base of this name, the usual task first; empty: nothing. */
  tasksOf(name: string): readonly string[] {
    return this.#parts.bases.find(({ names }) => names.includes(name))?.tasks ?? [];
  }

  stats(): JobStats {
    const byStatus = { validating_files: 0, queued: 0, running: 0, paused: 0, succeeded: 0, failed: 0, cancelled: 0 };
    for (const { status } of this.#parts.jobs.list()) byStatus[status]++;
    return { byStatus, pausedSeconds: this.#queue.pausedSeconds };
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
    clearInterval(this.#sweeping);
    await this.#queue[Symbol.asyncDispose]();
  }

  #requireBase({ model, method, task = null }: JobRequest): void {
    const { bases } = this.#parts;
    const base = bases.find(({ names }) => names.includes(model));
    if (base && task !== null && !base.tasks.includes(task)) {
      const message = `\`task\` is "${task}"; jobs train the base \`${model}\` for ${base.tasks.join(" or ")}.`;
      throw new LorikeetError("invalid_value", message, { param: "task", found: task, allowed: base.tasks });
    }
    if (base && method === "dpo" && (task ?? base.tasks[0]) !== "text-generation" && base.methods.includes(method)) {
      const message =
        '`method.type` is "dpo", which trains text-generation; other tasks are trained with "supervised".';
      throw new LorikeetError("invalid_value", message, { param: "method.type", found: method });
    }
    if (base?.methods.includes(method)) return;
    if (base) {
      const message = `\`method.type\` is "${method}"; the base \`${model}\` is trained with ${base.methods.map((each) => `"${each}"`).join(" or ")}.`;
      throw new LorikeetError("invalid_value", message, { param: "method.type", found: method, allowed: base.methods });
    }
    const names = bases.map((each) => `\`${each.names[0]}\``).join(", ");
    const hint = this.#parts.others?.includes(model)
      ? ` Jobs do not train \`${model}\`; \`lorikeet train\` does, where its task can be trained.`
      : "";
    const others = names === "" ? "this server has none" : `available: ${names}`;
    throw new LorikeetError("model_not_found", `\`model\` is not a base that can be fine-tuned; ${others}.${hint}`, {
      param: "model",
    });
  }

  /** A file of the owner that a job may read. */
  #trainable(owner: string, id: string, param: string): StoredFile {
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
      .filter(({ id, status }) => states.includes(status) && !this.#queue.isRunning(id));
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

  #say(id: string, level: JobEvent["level"], message: string): Promise<void> {
    return this.#parts.jobs.note(id, { level, message, data: null }, this.#now());
  }
}

const fileOf = (split: JobFile["split"], { filename: name, lines: rows }: StoredFile): JobFile => ({
  split,
  name,
  rows,
});

function requireStatus({ status }: JobRecord, allowed: readonly JobStatus[], what: string): void {
  if (allowed.includes(status)) return;
  const states = [allowed.slice(0, -1).join(", "), ...allowed.slice(-1)].filter(Boolean).join(" or ");
  const message = `Only a job that is ${states} can be ${what}; this one is ${status}.`;
  throw new LorikeetError("conflict", message, { param: "fine_tuning_job_id", found: status, allowed });
}
