/** One whole run: lock, resume, loop, files, and the folder that is served. Prints nothing; what happens is told by events. */
import { writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { plainBatches } from "./batches.js";
import { modelCard } from "./card.js";
import { Checkpoints } from "./checkpoints.js";
import type { Item } from "./data/dataset.js";
import type { TokenRow } from "./data/encode.js";
import { evaluateLoss } from "./evaluate.js";
import { Journal, readJournal } from "./journal.js";
import { nextToken } from "./objectives.js";
import { drawTraining } from "./plot.js";
import { type RunRecord, type RunResults, type ServedCheck, writeRecord } from "./record.js";
import type { RunFolder } from "./run-folder.js";
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
  /** Where the run begins: 0, or the step of the checkpoint that it goes on from. */
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
  /** Rows by which training and serving are compared. */
  readonly check: readonly TokenRow[];
  /** Starts the serving engine over a finished result. The run's own session is closed by then. */
  readonly serve: (result: string) => Promise<Served>;
  /** More to do with what is served, before the engine ends. */
  readonly tried?: (served: Served) => Promise<void>;
  readonly signal: AbortSignal;
  readonly events?: RunEvents;
}

export interface RunOutcome {
  readonly end: TrainEnd;
  readonly state: TrainState;
  /** The folder of the best checkpoint; null before the first validation. */
  readonly best: string | null;
  /** null where there is no result yet. */
  readonly results: RunResults | null;
}

/**
 * Trains in `folder.path` and, at the end, makes it `folder.out`. Call it under the folder's lock, after `folder.start`. An
 * interrupted or diverged run leaves its checkpoints; a fault of the disk leaves those that were saved.
 */
export async function runTraining(options: RunOptions): Promise<RunOutcome> {
  const { folder, session, settings, record } = options;
  const checkpoints = new Checkpoints({
    folder: folder.checkpoints,
    keep: settings.keep,
    optimizer: session.optimizer,
    save: session.product.save,
    load: session.product.load,
  });
  const state = (await checkpoints.resume()) ?? initialState();
  await writeRecord(folder.path, record);
  options.events?.started?.(state);
  const end = await runLoop(options, checkpoints, state);
  const best = state.best ? checkpoints.pathOf(state.best.step) : null;
  if (end === "interrupted" || end === "diverged") return { end, state, best, results: null };
  if (state.best) await checkpoints.load(state.best.step);
  return { end, state, best, results: await finish(options, end, state) };
}

async function runLoop(options: RunOptions, checkpoints: Checkpoints, state: TrainState): Promise<TrainEnd> {
  const { folder, session, settings, events = {}, signal } = options;
  await using journal = await Journal.open(journalPath(folder.path), state);
  return await train(
    {
      ...session,
      stepper: session.step,
      rate: session.schedule,
      batches: (step) => session.plan.step(step),
      steps: session.totalSteps,
      patience: settings.patience,
      maxTimeMs: settings.maxTimeMs,
      signal,
      events: {
        async step(report) {
          const { step, loss, rate, gradientNorm, tokens, ms } = report;
          await journal.add({ step, loss, rate, gradient_norm: gradientNorm, tokens, seconds: ms / 1000 });
          events.step?.(report);
        },
        async validated(report) {
          const { step, loss, margin } = report;
          const more = margin === undefined ? {} : { validation_margin: margin };
          await journal.add({ step, validation_loss: loss, ...more });
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

const journalPath = (folder: string): string => join(folder, "training.jsonl");

/** Writes the result's files, compares it with what the server computes, and renames it into place. */
async function finish(options: RunOptions, end: TrainEnd, state: TrainState): Promise<RunResults> {
  const { folder, session, record, signal } = options;
  const began = performance.now();
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
    best_step: state.best?.step ?? null,
    tokens: state.tokens,
    seconds: (state.elapsedMs + performance.now() - began) / 1000,
    base_validation_loss: first && "validation_loss" in first ? first.validation_loss : null,
    validation_loss: state.best?.loss ?? null,
    written_validation_loss: written,
    served_check: trained === null || servedLoss === null ? null : servedCheck(options, trained, servedLoss),
  };
  const complete = { ...record, results };
  await writeRecord(folder.path, complete);
  const name = basename(folder.out);
  await writeFile(join(folder.path, "README.md"), modelCard(name, complete), { flush: true });
  await writeFile(join(folder.path, "training.svg"), drawTraining(rows, name), { flush: true });
  await folder.finish();
  return results;
}

function servedCheck({ check, settings }: RunOptions, trained: number, served: number): ServedCheck {
  return { rows: check.length, trained, served, difference: Math.abs(trained - served), dtype: settings.baseDtype };
}

/** Where writing has rounded, the parameters become what was written, and its validation loss is told. */
async function writtenLoss({ folder, session, signal }: RunOptions): Promise<number | null> {
  const { product, validation, objective, step } = session;
  if (!product.rounds) return null;
  await product.load(folder.path);
  if (validation.length === 0) return null;
  return (await validationLoss({ stepper: step, objective, validation, signal })).loss;
}

/** The mean loss over the labels of the compared rows, by the training graph. */
async function trainedLoss({ session, settings, check, signal }: RunOptions): Promise<number | null> {
  if (check.length === 0) return null;
  const batches = plainBatches(
    check.map((row): Item => [row]),
    Math.min(settings.batch, 4), // no more memory than the run itself has taken
  );
  const total = batches.reduce((sum, batch) => sum + nextToken.count(batch), 0);
  let loss = 0;
  for (const batch of batches) loss += (await nextToken.evaluate(session.step, batch, total, signal)).loss;
  return loss;
}

async function serveOnce({ serve, folder, check, tried }: RunOptions, signal: AbortSignal): Promise<number | null> {
  await using served = await serve(folder.path);
  const figures = check.length === 0 ? null : await evaluateLoss(served, check, { signal });
  await tried?.(served);
  return figures?.loss ?? null;
}
