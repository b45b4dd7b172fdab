/** One run of a job, from its files to an adapter's folder. What an earlier process has begun is continued. */
import { join, sep } from "node:path";
import { storageFault } from "../../base/durable.js";
import { LorikeetError } from "../../base/errors.js";
import type {
  HeldOut,
  KeptStep,
  StepFigures,
  TrainingEnd,
  TrainingProduct,
  TrainingReport,
  TrainingRun,
} from "../../jobs/types.js";
import { Checkpoints } from "../../train/files/checkpoints.js";
import { type RunResults, readRecord } from "../../train/files/record.js";
import { RunFolder } from "../../train/files/run-folder.js";
import { type RunEvents, runTraining } from "../../train/run.js";
import { storedOptions } from "../train/resume.js";
import { givenFacts } from "../train/run-job.js";
import { scoreTask } from "../train/score-job.js";
import { UsageError } from "../usage.js";
import { openDecoderRun } from "./decoder-run.js";
import type { TrainingBase } from "./messages.js";
import type { OpenedRun } from "./opened-run.js";
import { dataName, originOf, readShown, writeCheckpointCards } from "./origin.js";
import { openTaskRun } from "./task-run.js";

type Report = (report: TrainingReport) => void;

const shownFaults = 8;

/** Never rejects. */
export async function train(
  base: TrainingBase,
  run: TrainingRun,
  report: Report,
  signal: AbortSignal,
): Promise<TrainingEnd> {
  try {
    const folder = new RunFolder(run.output);
    const results = (await finished(run)) ?? (await folder.locked(() => trainIn(folder, base, run, report, signal)));
    if (results === null) return { type: "stopped" };
    if (results.ended === "diverged") return { type: "failed", fault: diverged(results) };
    return { type: "done", product: await productOf(run, results) };
  } catch (error) {
    if (signal.aborted) return { type: "stopped" };
    return { type: "failed", fault: faultOf(storageFault(error, run.output, "fine-tuning folder"), run) };
  }
}

/** The results of a run that had ended when the server did. */
async function finished({ output }: TrainingRun): Promise<RunResults | null> {
  return (await readRecord(output))?.results ?? null;
}

/** null if it was stopped. */
async function trainIn(
  folder: RunFolder,
  base: TrainingBase,
  run: TrainingRun,
  report: Report,
  signal: AbortSignal,
): Promise<RunResults | null> {
  const begun = await folder.recall();
  const mode = begun === null ? "overwrite" : "resume";
  await folder.check(mode);
  const trainOpened = async <Batch>(opened: OpenedRun<Batch>): Promise<RunResults | null> => {
    const { flags, settings, session, warnings, examples } = opened;
    const rows = await readShown(run, opened.textsOf);
    const record = { ...opened.record, ...originOf(run, rows) };
    const { train_rows: trainRows, validation_rows: validRows } = record.data;
    report({ type: "opened", steps: session.totalSteps, trainRows, validRows, warnings });
    await folder.start(mode, storedOptions(flags));
    const shown = run.origin.showsRows ? await examples(rows) : [];
    const card = {
      ...givenFacts({ flags }),
      data: dataName(run),
      description: run.description,
      outputDir: join("adapters", run.name),
    };
    const { results } = await runTraining({
      ...{ folder, session, settings, record, signal },
      card: { ...card, examples: async () => shown },
      ...opened.own,
      events: eventsFor(report, opened.events),
    });
    if (results !== null) await writeCheckpointCards(run, record, { ...card, examples: [] });
    return results;
  };
  const request = { base, run, begun, folder, report, signal };
  if (base.kind === "task" || run.task === scoreTask) {
    await using opened = await openTaskRun(request);
    return await trainOpened(opened);
  }
  await using opened = await openDecoderRun(request);
  return await trainOpened(opened);
}

function eventsFor(report: Report, more: RunEvents): RunEvents {
  const none: Omit<StepFigures, "step"> = {
    trainLoss: null,
    trainAccuracy: null,
    validLoss: null,
    validAccuracy: null,
  };
  return {
    started: ({ step }) => report({ type: "started", step }),
    step: ({ step, loss, rate }) => report({ type: "step", figures: { ...none, step, trainLoss: loss }, rate }),
    validated(validation) {
      const { step, loss, metrics } = validation;
      const figures = { ...none, step, validLoss: loss, validAccuracy: metrics.accuracy ?? null };
      report({ type: "validation", figures });
      more.validated?.(validation);
    },
  };
}

async function productOf({ output }: TrainingRun, results: RunResults): Promise<TrainingProduct> {
  const folder = join(output, "checkpoints");
  const steps = await Checkpoints.stepsIn(folder);
  return {
    kept: keptOf(results),
    tokens: results.tokens,
    heldOut: heldOutOf(results, await readRecord(output)),
    checkpoints: steps.map((step) => ({ step, folder: Checkpoints.pathIn(folder, step) })),
  };
}

function keptOf({ kept_step: step, steps, best_step: best }: RunResults): KeptStep {
  return { step, steps, reason: step === steps ? "last" : "best", best };
}

function heldOutOf(results: RunResults, record: Awaited<ReturnType<typeof readRecord>>): HeldOut | null {
  const { base_validation_loss: before, validation_loss: after } = results;
  return before === null || after === null ? null : { rows: record?.data?.validation_rows ?? 0, before, after };
}

const diverged = ({ steps }: RunResults) => ({
  code: "invalid_value",
  message: `The loss diverged after ${steps} steps; a lower learning_rate_multiplier may help.`,
  param: "learning_rate_multiplier",
});

/** The fault in the words of the API: files have no folders, and a list of faults is told. */
function faultOf(error: unknown, { data }: TrainingRun) {
  const told = (text: string): string => text.replaceAll(`${data}${sep}`, "").replaceAll(data, "the files");
  if (error instanceof LorikeetError) {
    const listed = error.faults.slice(0, shownFaults).filter((fault) => !error.message.includes(fault));
    const message = told([error.message, ...listed].join(" "));
    return { code: error.code, message, param: error.code === "data_invalid" ? "training_file" : null };
  }
  if (error instanceof UsageError) return { code: "invalid_value", message: told(error.message), param: null };
  const reason = error instanceof Error ? (error.stack ?? error.message) : String(error);
  process.stderr.write(`lorikeet: a fine-tuning job failed: ${reason}\n`);
  return { code: "internal", message: "The training process failed; the server's log says why.", param: null };
}
