/** One process of one job: what it reports becomes events and figures, and its product becomes an adapter that requests can name. */

import { writeFile } from "node:fs/promises";
import { LorikeetError } from "../base/errors.js";
import type { Logger } from "../base/log.js";
import type { FileStore } from "./file-store.js";
import { newCheckpointId, shortId } from "./ids.js";
import type { JobStore } from "./job-store.js";
import { adapterNameOf, aliasOf } from "./names.js";
import { resultsCsv } from "./results-file.js";
import type {
  JobCheckpoint,
  JobEvent,
  JobFault,
  JobRecord,
  KeptStep,
  StepFigures,
  TrainableBase,
  TrainingEnd,
  TrainingProcess,
  TrainingProduct,
  TrainingReport,
} from "./types.js";

/** Events of a run's steps, at most. */
const mostStepEvents = 500;

/** Faults that pass: a job that meets one is paused, and keeps what it has trained. */
const passingCodes: readonly string[] = ["store_full", "conflict", "no_file_handles", "validations_busy"];

export interface JobRunParts {
  readonly jobs: JobStore;
  readonly files: FileStore;
  readonly base: TrainableBase;
  readonly logger: Logger;
  readonly now: () => number;
  /** Removes paths of this machine from a text. */
  readonly publicText: (text: string) => string;
  readonly sharesRows: boolean;
}

/** Of fewer steps, the time left would be a guess. */
const stepsBeforeEstimate = 5;

export class JobRun {
  readonly id: string;
  /** Why it was asked to stop; null: it was not. */
  reason: "paused" | "cancelled" | "shutdown" | null = null;
  readonly #parts: JobRunParts;
  #process: TrainingProcess | null = null;
  #steps = 0;
  /** The last step that has an event: a run that resumes repeats some. */
  #noted = -1;
  #figures = new Map<number, StepFigures>();
  /** When the first step since the start had ended: what comes before it says nothing about the pace. */
  #began: { readonly step: number; readonly at: number } | null = null;

  constructor(id: string, parts: JobRunParts) {
    this.id = id;
    this.#parts = parts;
  }

  get process(): TrainingProcess | null {
    return this.#process;
  }

  /** Runs to the job's end, or until it is stopped. Never rejects. */
  async run(isSuspended: () => boolean): Promise<void> {
    try {
      const { jobs, base } = this.#parts;
      for (const { data } of await jobs.events(this.id)) this.#noted = Math.max(this.#noted, data?.step ?? -1);
      const isBegun = this.#noted >= 0; // its files were found valid
      const job = await jobs.change(this.id, { status: isBegun ? "running" : "validating_files" });
      if (this.reason !== null) return await this.#stopped(this.reason);
      if (!isBegun) await this.#say("info", `Validating training file: ${job.trainingFile}`);
      const { data, product } = jobs.placesOf(this.id);
      const { method, hyperparameters, seed } = job;
      const name = adapterNameOf({ suffix: job.suffix, id: shortId(job.id), step: null });
      const { description = "", card_rows: rows } = job.metadata ?? {};
      const showsRows = rows === undefined ? this.#parts.sharesRows : rows === "show";
      const origin = { job: job.id, createdAt: job.createdAt, files: job.files ?? [], showsRows };
      this.#process = base.start(
        {
          data,
          output: product,
          name,
          description: description.trim() || null,
          origin,
          task: job.task ?? base.tasks[0],
          method,
          hyperparameters,
          seed,
        },
        (report) => this.#take(report),
      );
      if (isSuspended() && this.reason === null) this.#process.suspend();
      if (this.reason !== null) this.#process.stop();
      await this.#finish(await this.#process.ended);
    } catch (error) {
      this.#parts.logger.error({ job: this.id, err: error }, "A fine-tuning job failed");
      await this.#halt(faultOf(error)).catch(() => {});
    } finally {
      this.#process = null;
    }
  }

  #take(report: TrainingReport): void {
    const noting = this.#takeNow(report);
    noting.catch((error: unknown) =>
      this.#parts.logger.warn({ job: this.id, err: error }, "A report of a job was lost"),
    );
  }

  async #takeNow(report: TrainingReport): Promise<void> {
    const { jobs } = this.#parts;
    switch (report.type) {
      case "opened": {
        this.#steps = report.steps;
        const held = report.validRows === 0 ? "none held out" : `${report.validRows} held out`;
        // Changes come before what waits, or they could overwrite the job's end.
        await Promise.all([
          jobs.change(this.id, { status: "running" }),
          ...report.warnings.map((warning) => this.#say("warn", warning)),
          ...(this.#noted >= 0
            ? []
            : [this.#say("info", `Files validated: ${report.trainRows} examples to train on, ${held}`)]),
        ]);
        return;
      }
      case "started":
        this.#began = null;
        await this.#say(
          "info",
          report.step === 0 ? "Fine-tuning job started" : `Fine-tuning job resumed after step ${report.step}`,
        );
        return;
      case "step":
        return this.#step(report.figures, report.rate);
      case "validation":
        return this.#validated(report.figures);
      case "samples":
        return this.#sampled(report);
    }
  }

  async #step(figures: StepFigures, rate: number): Promise<void> {
    const { jobs, now } = this.#parts;
    const { step } = figures;
    this.#figures.set(step, figures);
    this.#began ??= { step, at: now() };
    const every = Math.max(1, Math.ceil(this.#steps / mostStepEvents));
    if (step <= this.#noted || (step % every !== 0 && step !== this.#steps)) return;
    this.#noted = step;
    const message = `Step ${step}/${this.#steps}: training loss=${(figures.trainLoss ?? 0).toFixed(4)}`;
    const noting = this.#note("info", message, { ...dataOf(figures), total_steps: this.#steps, learning_rate: rate });
    const taken = step - this.#began.step;
    if (taken < stepsBeforeEstimate) return noting;
    const left = ((now() - this.#began.at) / taken) * (this.#steps - step);
    await Promise.all([noting, jobs.change(this.id, { estimatedFinish: Math.round(now() + left) })]);
  }

  async #validated(figures: StepFigures): Promise<void> {
    const { step, validLoss } = figures;
    this.#figures.set(step, { ...figures, trainLoss: this.#figures.get(step)?.trainLoss ?? null });
    const message = `Step ${step}/${this.#steps}: full validation loss=${(validLoss ?? 0).toFixed(4)}`;
    await this.#note("info", message, { ...dataOf(figures), total_steps: this.#steps });
  }

  #sampled({ step, samples }: Extract<TrainingReport, { type: "samples" }>): Promise<void> {
    const { jobs, now } = this.#parts;
    const shared = { level: "info" as const, data: null, samples };
    return step === null
      ? jobs.note(this.id, { ...shared, message: "Sample answers, before and after training" }, now())
      : jobs.note(
          this.id,
          { ...shared, message: `Step ${step}/${this.#steps}: sample answers`, sampledStep: step },
          now(),
        );
  }

  async #finish(end: TrainingEnd): Promise<void> {
    if (this.reason === "cancelled") return this.#stopped("cancelled");
    if (end.type === "done") return this.#succeed(end.product);
    if (this.reason !== null) return this.#stopped(this.reason);
    if (end.type === "failed") return this.#halt(end.fault);
    return this.#stopped("shutdown"); // the process itself was told to stop, and has saved a checkpoint
  }

  async #stopped(reason: "paused" | "cancelled" | "shutdown"): Promise<void> {
    const { jobs, now } = this.#parts;
    if (reason === "cancelled") {
      await this.#say("info", "The job was cancelled");
      await jobs.change(this.id, { status: "cancelled", finishedAt: now(), estimatedFinish: null });
      await jobs.clear(this.id);
      return;
    }
    if (reason === "paused") await this.#say("info", "The job was paused");
    await jobs.change(this.id, { status: reason === "paused" ? "paused" : "queued", estimatedFinish: null });
  }

  async #succeed(product: TrainingProduct): Promise<void> {
    const { jobs, base, now } = this.#parts;
    const job = jobs.find(this.id);
    if (!job) return;
    const { kept } = product;
    const { before, after } = product.heldOut ?? {};
    if (product.heldOut) {
      const told = `Held-out loss over ${product.heldOut.rows} examples: ${before?.toFixed(4)} before, ${after?.toFixed(4)} after`;
      const data = {
        step: product.kept.step,
        base_valid_loss: product.heldOut.before,
        full_valid_loss: product.heldOut.after,
      };
      await this.#note("info", told, data);
    }
    const named = { suffix: job.suffix, id: shortId(job.id), step: null };
    const adapter = adapterNameOf(named);
    await base.publish(adapter, jobs.placesOf(job.id).product, job.id); // first: checkpoints must not take the last room
    const last = await this.#checkpoint(kept.step, adapter);
    const checkpoints = [...(await this.#publishCheckpoints(job, product)), last];
    const alias = aliasOf({ ...named, base: base.names[0] });
    const resultFiles = await this.#writeResults(job);
    const { best, ...figures } = { kept_step: kept.step, total_steps: kept.steps, best: kept.best };
    await this.#note("info", keptText(kept), { ...figures, ...(best !== null && { best_step: best }) });
    await this.#say("info", `New fine-tuned model created: ${alias}`);
    await this.#say("info", "The job has successfully completed");
    await jobs.change(job.id, {
      status: "succeeded",
      finishedAt: now(),
      estimatedFinish: null,
      adapter,
      resultFiles,
      trainedTokens: product.tokens,
      heldOut: product.heldOut,
      kept,
      checkpoints,
    });
    await jobs.clear(job.id);
  }

  /** Those of earlier steps that the run has kept. One that cannot be served does not fail the job. */
  async #publishCheckpoints(job: JobRecord, { checkpoints, kept }: TrainingProduct): Promise<JobCheckpoint[]> {
    const published: JobCheckpoint[] = [];
    for (const { step, folder } of checkpoints) {
      if (step === 0 || step === kept.step) continue;
      const adapter = adapterNameOf({ suffix: job.suffix, id: shortId(job.id), step });
      try {
        await this.#parts.base.publish(adapter, folder, job.id);
        published.push(await this.#checkpoint(step, adapter));
      } catch (error) {
        await this.#say("warn", `The checkpoint of step ${step} is not served: ${faultOf(error).message}`);
      }
    }
    return published;
  }

  async #checkpoint(step: number, adapter: string): Promise<JobCheckpoint> {
    const { jobs, now } = this.#parts;
    const known = new Map<string, number>();
    for (const { data } of await jobs.events(this.id)) {
      if (data?.step === step) for (const [name, value] of Object.entries(data)) known.set(name, value);
    }
    const figures: StepFigures = {
      step,
      trainLoss: known.get("train_loss") ?? null,
      trainAccuracy: known.get("train_accuracy") ?? null,
      validLoss: known.get("valid_loss") ?? null,
      validAccuracy: known.get("valid_mean_token_accuracy") ?? null,
    };
    return { id: newCheckpointId(), createdAt: now(), adapter, figures };
  }

  async #writeResults(job: JobRecord): Promise<string[]> {
    const { jobs, files } = this.#parts;
    try {
      const text = resultsCsv(await jobs.events(job.id));
      const draft = await files.draft(Buffer.byteLength(text));
      await writeFile(draft.content, text).catch(async (cause: unknown) => {
        await files.discard(draft);
        throw files.fault(cause);
      });
      const facts = { owner: job.owner, filename: "step_metrics.csv", purpose: "fine-tune-results" as const };
      const { id } = await files.keep(draft, { ...facts, lines: text.split("\n").length - 1, ttlMs: null });
      return [id];
    } catch (error) {
      await this.#say("warn", `The results file could not be written: ${faultOf(error).message}`);
      return [];
    }
  }

  /** Ends a job that failed; pauses one whose fault may pass. */
  async #halt(fault: JobFault): Promise<void> {
    // A run that has taken steps fitted into memory before.
    const isPassing = passingCodes.includes(fault.code) || (fault.code === "out_of_memory" && this.#noted > 0);
    if (!isPassing) return this.#fail(fault);
    const { jobs } = this.#parts;
    await Promise.all([
      jobs.change(this.id, { status: "paused", finishedAt: null, estimatedFinish: null }),
      this.#say("error", `The job was paused and keeps what it has trained: ${fault.message}`),
    ]);
  }

  async #fail(fault: JobFault): Promise<void> {
    const { jobs, now, publicText } = this.#parts;
    const error = { ...fault, message: publicText(fault.message) };
    await this.#say("error", error.message);
    await jobs.change(this.id, { status: "failed", finishedAt: now(), estimatedFinish: null, error });
    await jobs.clear(this.id);
  }

  #say(level: JobEvent["level"], message: string): Promise<void> {
    return this.#note(level, message, null);
  }

  #note(level: JobEvent["level"], message: string, data: JobEvent["data"]): Promise<void> {
    const { jobs, now, publicText } = this.#parts;
    return jobs.note(this.id, { level, message: publicText(message), data }, now());
  }
}

function keptText({ step, steps, reason, best }: KeptStep): string {
  const told = `The weights of step ${step} of ${steps} are published`;
  if (reason === "best") return `${told}: their validation was the best`;
  if (best === null) return `${told}: the last`;
  return `${told}: the last, ${best === step ? "and their validation was the best" : `while the validation at step ${best} was the best`}`;
}

/** What was thrown, for a client. */
export function faultOf(error: unknown): JobFault {
  if (!(error instanceof LorikeetError)) {
    return { code: "internal", message: "The server failed to run the job; its log says why.", param: null };
  }
  return { code: error.code, message: error.message, param: error.param ?? null };
}

/** The names of OpenAI's metrics. */
function dataOf({ step, ...figures }: StepFigures): Record<string, number> {
  const named = {
    train_loss: figures.trainLoss,
    train_accuracy: figures.trainAccuracy,
    valid_loss: figures.validLoss,
    valid_mean_token_accuracy: figures.validAccuracy,
  };
  const known = Object.entries(named).flatMap(([name, value]) => (value === null ? [] : [[name, value] as const]));
  return { step, ...Object.fromEntries(known) };
}
