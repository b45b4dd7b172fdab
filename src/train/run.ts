/** A whole run: resume, training loop, files, and the result folder. Prints nothing; reports by events. */
import { mkdir, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { removeTree } from "../base/durable.js";
import type { Progress } from "../base/log.js";
import { plainBatches } from "./data/batches.js";
import type { Item } from "./data/dataset.js";
import type { TokenRow } from "./data/encode.js";
import { evaluateLoss } from "./evaluate.js";
import { modelCard } from "./files/card.js";
import { Checkpoints } from "./files/checkpoints.js";
import { type RunRecord, type RunResults, type ServedCheck, writeRecord } from "./files/record.js";
import type { RunFolder } from "./files/run-folder.js";
import { nextToken } from "./objectives.js";
import { Journal, type JournalRow, readJournal } from "./reports/journal.js";
import { drawTraining } from "./reports/plot.js";
import { openReports, type ReportTarget } from "./reports/reports.js";
import type { Served } from "./served.js";
import type { TrainSession } from "./session.js";
import type { TrainSettings } from "./settings.js";
import {
  initialState,
  type StepReport,
  type TrainEnd,
  type TrainState,
  train,
  type ValidationReport,
  validationLoss,
} from "./trainer.js";

export interface RunEvents {
  /** The first step: 0, or the step of the checkpoint from which the run resumes. */
  started?(state: Readonly<TrainState>): void;
  step?(report: StepReport): void;
  validated?(report: ValidationReport): void;
  saved?(folder: string, step: number): void;
}

export interface RunOptions {
  readonly folder: RunFolder;
  readonly session: TrainSession;
  readonly settings: TrainSettings;
  readonly record: RunRecord;
  /** Rows for the comparison of training and serving. */
  readonly check: readonly TokenRow[];
  /** Serves a finished result. The run's own session is closed by then. */
  readonly serve: (result: string) => Promise<Served>;
  /** Called with the served result before its engine stops. */
  readonly onServed?: (served: Served) => Promise<void>;
  /** Serves the weights at every so many steps. */
  readonly sampling?: { readonly every: number; take(served: Served, step: number): Promise<void> };
  /** Programs to write logs for. */
  readonly reportTo?: readonly ReportTarget[];
  /** Whether a finished run gets more steps. Early stopping then starts over. */
  readonly extends?: boolean;
  readonly signal: AbortSignal;
  /** Reports what happens before the first step, after the last one, and during validation. */
  readonly progress?: Progress;
  readonly events?: RunEvents;
}

export interface RunOutcome {
  readonly end: TrainEnd;
  readonly state: TrainState;
  /** null if the run was interrupted. */
  readonly results: RunResults | null;
}

/**
 * Trains in `folder.path`, and at the end renames it to `folder.outputDir`. If the loss diverged, the result is the best checkpoint.
 * Call it with the folder locked, after `folder.start`. An interrupted run leaves its checkpoints; a disk error leaves those that
 * were saved.
 */
export async function runTraining(options: RunOptions): Promise<RunOutcome> {
  const { folder, session, settings, record } = options;
  const checkpoints = new Checkpoints({
    folder: folder.checkpoints,
    keep: settings.saveTotalLimit,
    optimizer: session.optimizer,
    save: session.product.save,
    load: session.product.load,
  });
  const state = (await checkpoints.resume()) ?? initialState();
  if (options.extends && settings.earlyStoppingPatience !== null && state.sinceBest >= settings.earlyStoppingPatience) {
    state.sinceBest = 0;
    await checkpoints.save(state); // in case it is stopped before its next checkpoint
  }
  await writeRecord(folder.path, record);
  options.events?.started?.(state);
  const end = await runLoop(options, checkpoints, state);
  if (end === "interrupted") return { end, state, results: null };
  const kept = await keep(options, checkpoints, end, state);
  return { end, state, results: await finish(options, end, state, kept) };
}

/** The step whose weights are the result (they are in the parameters), and its validation loss if it has one. */
interface Kept {
  readonly step: number;
  readonly loss: number | null;
}

/** Selects the last weights, or the best if requested. A diverged run's last weights are useless: it keeps the best or the last saved ones. */
async function keep(
  { settings }: RunOptions,
  checkpoints: Checkpoints,
  end: TrainEnd,
  { step, best, last }: TrainState,
): Promise<Kept> {
  if (best && (settings.loadBestModelAtEnd || end === "diverged")) {
    await checkpoints.load(best.step);
    return best;
  }
  if (end !== "diverged") return { step, loss: last?.loss ?? null };
  const saved = (await checkpoints.steps()).at(-1);
  if (saved !== undefined) await checkpoints.load(saved);
  return { step: saved ?? step, loss: null };
}

async function runLoop(options: RunOptions, checkpoints: Checkpoints, state: TrainState): Promise<TrainEnd> {
  const { folder, session, settings, events = {}, signal, progress, sampling } = options;
  await using journal = await Journal.open(journalPath(folder.path), state);
  await using reports = await openReports(options.reportTo ?? [], {
    folder: folder.path,
    name: basename(folder.outputDir),
    config: { ...settings },
    step: state.step,
    past: await readJournal(journalPath(folder.path)),
  });
  const log = async (row: JournalRow): Promise<void> => {
    await journal.add(row);
    await reports.add(row);
  };
  return await train(
    {
      ...session,
      stepper: session.step,
      rate: session.schedule,
      batches: (step) => session.plan.step(step),
      steps: session.totalSteps,
      patience: settings.earlyStoppingPatience,
      maxTimeMs: settings.maxTimeMs,
      signal,
      events: {
        async step(report) {
          const { step, loss, rate, gradientNorm, tokens, ms } = report;
          await log({ step, loss, learning_rate: rate, gradient_norm: gradientNorm, tokens, seconds: ms / 1000 });
          events.step?.(report);
          if (sampling && step % sampling.every === 0 && step < session.totalSteps) await sample(options, step);
        },
        validating: (done, total) => progress?.("validating", done, total),
        async validated(report) {
          const { step, loss, margin, accuracy } = report;
          await log({
            step,
            validation_loss: loss,
            ...(margin === undefined ? {} : { validation_margin: margin }),
            ...(accuracy === undefined ? {} : { validation_accuracy: accuracy }),
          });
          events.validated?.(report);
        },
        async checkpoint(current) {
          const path = await checkpoints.save(current);
          events.saved?.(path, current.step);
        },
      },
    },
    state,
  );
}

/** Serves the current weights, while the run's own session stays open. */
async function sample({ folder, session, serve, sampling, progress }: RunOptions, step: number): Promise<void> {
  const draft = join(folder.path, "sample");
  progress?.("answering samples", 0, 0);
  try {
    await mkdir(draft, { recursive: true });
    await session.product.save(draft);
    await using served = await serve(draft);
    await sampling?.take(served, step);
  } finally {
    await removeTree(draft);
  }
}

const journalPath = (folder: string): string => join(folder, "training.jsonl");

/** Writes the result's files, compares them with what the server computes, and renames the folder into place. */
async function finish(options: RunOptions, end: TrainEnd, state: TrainState, kept: Kept): Promise<RunResults> {
  const { folder, session, record, signal, progress } = options;
  const began = performance.now();
  progress?.("writing the result", 0, 0);
  await session.product.write(folder.path);
  const written = await writtenLoss(options);
  const trained = await trainedLoss(options);
  await session[Symbol.asyncDispose]();
  const rows = await readJournal(journalPath(folder.path));
  const first = rows.find((row) => "validation_loss" in row && row.step === 0);
  const servedLoss = await serveOnce(options, signal);
  const results: RunResults = {
    ended: end,
    steps: state.step,
    kept_step: kept.step,
    best_step: state.best?.step ?? null,
    best_validation_loss: state.best?.loss ?? null,
    last_validation_loss: state.last?.loss ?? null,
    tokens: state.tokens,
    seconds: (state.elapsedMs + performance.now() - began) / 1000,
    base_validation_loss: first && "validation_loss" in first ? first.validation_loss : null,
    validation_loss: kept.loss,
    written_validation_loss: written,
    served_check: trained === null || servedLoss === null ? null : servedCheck(options, trained, servedLoss),
  };
  const complete = { ...record, results };
  await writeRecord(folder.path, complete);
  const name = basename(folder.outputDir);
  await writeFile(join(folder.path, "README.md"), modelCard(name, complete), { flush: true });
  await writeFile(join(folder.path, "training.svg"), drawTraining(rows, name), { flush: true });
  await folder.finish();
  return results;
}

function servedCheck({ check, settings }: RunOptions, trained: number, served: number): ServedCheck {
  return { rows: check.length, trained, served, difference: Math.abs(trained - served), dtype: settings.dtype };
}

/** If saving rounds, reads the saved weights into the parameters and returns their validation loss. */
async function writtenLoss({ folder, session, signal, progress }: RunOptions): Promise<number | null> {
  const { product, validation, objective, step } = session;
  if (!product.rounds) return null;
  await product.load(folder.path);
  if (validation.length === 0) return null;
  const validating = (done: number, total: number): void => progress?.("validating the saved weights", done, total);
  return (await validationLoss({ stepper: step, objective, validation, signal, validating })).loss;
}

/** The mean loss over the labels of the compared rows, by the training graph. */
async function trainedLoss({ session, settings, check, signal, progress }: RunOptions): Promise<number | null> {
  if (check.length === 0) return null;
  progress?.("comparing with serving", 0, 0);
  const batches = plainBatches(
    check.map((row): Item => [row]),
    Math.min(settings.batchSize, 4), // no more memory than the run itself
  );
  const total = batches.reduce((sum, batch) => sum + nextToken.count(batch), 0);
  let loss = 0;
  for (const batch of batches) loss += (await nextToken.evaluate(session.step, batch, total, signal)).loss;
  return loss;
}

async function serveOnce(
  { serve, folder, check, onServed, progress }: RunOptions,
  signal: AbortSignal,
): Promise<number | null> {
  progress?.("starting the serving engine", 0, 0);
  await using served = await serve(folder.path);
  progress?.("comparing with serving", 0, 0);
  const figures = check.length === 0 ? null : await evaluateLoss(served, check, { signal });
  progress?.("answering samples", 0, 0);
  await onServed?.(served);
  return figures?.loss ?? null;
}
