/** A whole run: resume, training loop, files, and the result folder. Prints nothing; reports by events. */
import { mkdir, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { removeTree } from "../base/durable.js";
import type { Progress } from "../base/log.js";
import { modelCard } from "./card/card.js";
import { trainCommand } from "./card/command.js";
import type { CardFacts } from "./card/facts.js";
import { Checkpoints } from "./files/checkpoints.js";
import { type RunRecord, type RunResults, writeRecord } from "./files/record.js";
import type { RunFolder } from "./files/run-folder.js";
import { Journal, type JournalRow, readJournal, type ValidationRow } from "./reports/journal.js";
import { drawTraining } from "./reports/plot.js";
import { openReports, type ReportTarget } from "./reports/reports.js";
import type { RunSession } from "./run-session.js";
import type { TrainSettings } from "./settings.js";
import type { Evaluation, Metrics } from "./trainable.js";
import {
  initialState,
  type StepReport,
  type TrainEnd,
  type TrainState,
  train,
  type ValidationReport,
} from "./trainer.js";

export interface RunEvents {
  /** The first step: 0, or the step of the checkpoint from which the run resumes. */
  started?(state: Readonly<TrainState>): void;
  step?(report: StepReport): void;
  validated?(report: ValidationReport): void;
  saved?(folder: string, step: number): void;
}

/** Compares the result in the serving engine with the training graph. */
export interface ServedComparison {
  /** Compared rows. */
  readonly rows: number;
  /** The mean loss of these rows by the training graph, before the session is closed; null without rows. */
  trained(signal: AbortSignal): Promise<number | null>;
  /** The same by the serving engine, from the result's folder, after the session is closed. */
  served(result: string, signal: AbortSignal): Promise<number | null>;
}

export interface RunOptions<Batch> {
  readonly folder: RunFolder;
  readonly session: RunSession<Batch>;
  readonly settings: TrainSettings;
  readonly record: RunRecord;
  readonly comparison: ServedComparison;
  /** Shows the weights at every so many steps; `take` gets a folder like that of a result. */
  readonly sampling?: { readonly every: number; take(folder: string, step: number): Promise<void> };
  /** `examples`: once the result was served. */
  readonly card: Omit<CardFacts, "outputDir" | "examples"> & {
    /** Where readers of the card will find the result, if that is not where the run writes it. */
    readonly outputDir?: string;
    examples(): Promise<CardFacts["examples"]>;
  };
  /** Programs to write logs for. */
  readonly reportTo?: readonly ReportTarget[];
  /** Whether a finished run gets more steps. Early stopping then starts over. */
  readonly extends?: boolean;
  readonly signal: AbortSignal;
  /** Reports what happens before the first step, after the last one, and during validation. */
  readonly progress?: Progress;
  readonly events?: RunEvents;
  /** Whether the result's files hold validation rows with their answers. Default true. */
  readonly keepsSamples?: boolean;
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
export async function runTraining<Batch>(options: RunOptions<Batch>): Promise<RunOutcome> {
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
async function keep<Batch>(
  { settings }: RunOptions<Batch>,
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

async function runLoop<Batch>(
  options: RunOptions<Batch>,
  checkpoints: Checkpoints,
  state: TrainState,
): Promise<TrainEnd> {
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
          const { step, loss, metrics, samples } = report;
          const shown = options.keepsSamples !== false && samples && samples.length > 0 ? { samples } : {};
          await log({ step, validation_loss: loss, ...prefixed(metrics), ...shown });
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

const prefixed = (metrics: Metrics): Record<`validation_${string}`, number> =>
  Object.fromEntries(Object.entries(metrics).map(([name, value]) => [`validation_${name}`, value]));

/** Serves the current weights, while the run's own session stays open. */
async function sample<Batch>({ folder, session, sampling, progress }: RunOptions<Batch>, step: number): Promise<void> {
  const draft = join(folder.path, "sample");
  progress?.("answering samples", 0, 0);
  try {
    await mkdir(draft, { recursive: true });
    await session.product.save(draft);
    await sampling?.take(draft, step);
  } finally {
    await removeTree(draft);
  }
}

const journalPath = (folder: string): string => join(folder, "training.jsonl");

/** Writes the result's files, compares them with what the server computes, and renames the folder into place. */
async function finish<Batch>(
  options: RunOptions<Batch>,
  end: TrainEnd,
  state: TrainState,
  kept: Kept,
): Promise<RunResults> {
  const { folder, session, record, signal, progress, comparison, settings } = options;
  const began = performance.now();
  progress?.("writing the result", 0, 0);
  await session.product.write(folder.path);
  const written = await writtenLoss(options);
  progress?.("comparing with serving", 0, 0);
  const trained = await comparison.trained(signal);
  await session[Symbol.asyncDispose]();
  const rows = await readJournal(journalPath(folder.path));
  const validations = rows.filter((row) => "validation_loss" in row);
  const first = validations.find(({ step }) => step === 0);
  const last = validations.findLast(({ step }) => step === kept.step);
  const served = await comparison.served(folder.path, signal);
  const results: RunResults = {
    ended: end,
    steps: state.step,
    kept_step: kept.step,
    best_step: state.best?.step ?? null,
    best_validation_loss: state.best?.loss ?? null,
    last_validation_loss: state.last?.loss ?? null,
    tokens: state.tokens,
    seconds: (state.elapsedMs + performance.now() - began) / 1000,
    finished_at: new Date().toISOString(),
    base_validation_loss: first?.validation_loss ?? null,
    validation_loss: kept.loss,
    written_validation_loss: written?.loss ?? null,
    ...metricsOf(first, last),
    ...samplesOf(first, last),
    served_check:
      trained === null || served === null
        ? null
        : { rows: comparison.rows, trained, served, difference: Math.abs(trained - served), dtype: settings.dtype },
  };
  const { outputDir } = folder;
  const card = { outputDir, ...options.card };
  const complete = { ...record, results, command: trainCommand(card, record) };
  await writeRecord(folder.path, complete);
  const facts = { ...card, examples: await options.card.examples() };
  await writeFile(join(folder.path, "README.md"), modelCard(facts, complete), { flush: true });
  await writeFile(join(folder.path, "training.svg"), drawTraining(rows), { flush: true });
  await folder.finish();
  return results;
}

/** What validations measured besides the loss, before the run and of the kept weights. */
function metricsOf(first: ValidationRow | undefined, kept: ValidationRow | undefined) {
  const [before, now] = [metricsIn(first), metricsIn(kept)];
  const isMeasured = Object.keys({ ...before, ...now }).length > 0;
  return isMeasured ? { base_validation_metrics: before, validation_metrics: now } : {};
}

/** Answers to the same rows by the weights before the run and by the kept ones. */
function samplesOf(first: ValidationRow | undefined, kept: ValidationRow | undefined): Pick<RunResults, "samples"> {
  const [before, after] = [first?.samples ?? [], kept?.samples ?? []];
  if (after.length === 0) return {};
  const samples = after.map(({ prompt, expected, answer }, i) => ({
    ...{ prompt, expected, before: before[i]?.answer ?? "", after: answer },
  }));
  return { samples };
}

function metricsIn(row: ValidationRow | undefined): Record<string, number> {
  const { step: _, validation_loss: __, samples: ___, ...metrics } = row ?? { step: 0, validation_loss: 0 };
  return Object.fromEntries(Object.entries(metrics).map(([name, value]) => [name.slice("validation_".length), value]));
}

/** If saving rounds, reads the saved weights into the parameters and evaluates them. */
async function writtenLoss<Batch>({
  folder,
  session,
  signal,
  progress,
}: RunOptions<Batch>): Promise<Evaluation | null> {
  const { product, validation, trainable } = session;
  if (!product.rounds) return null;
  await product.load(folder.path);
  if (validation.length === 0) return null;
  return await trainable.evaluate(validation, {
    signal,
    progress: (done, total) => progress?.("validating the saved weights", done, total),
  });
}
