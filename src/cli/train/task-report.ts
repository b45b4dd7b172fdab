/** What `train` says about a run of a task before it begins: a measured step, and the rows. */

import { basename, dirname, join } from "node:path";
import type { Progress } from "../../base/log.js";
import type { RowPlace } from "../../train/data/faults.js";
import { peakBytes } from "../../train/estimate.js";
import type { LoraShape } from "../../train/lora.js";
import type { RunSession } from "../../train/run-session.js";
import type { TrainSettings } from "../../train/settings.js";
import type { Assessment } from "../../train/tasks/assessment.js";
import type { TaskSession } from "../../train/tasks/session.js";
import type { TaskData } from "../../train/tasks/task-data.js";
import type { TaskBatch } from "../../train/tasks/trainable.js";
import { formatBytes, formatCount } from "../options/units.js";
import { formatFields } from "../table.js";
import { formatTime, validationText } from "./report.js";
import type { JobPlan } from "./run-job.js";

export interface TaskFacts {
  /** Its name, task and size. */
  readonly model: string;
  readonly task: string;
  /** What is trained. */
  readonly method: string;
  /** null: the outputs have no names. */
  readonly labels: readonly string[] | null;
  /** Whether the graph has batch normalizations. */
  readonly hasNorms: boolean;
  readonly settings: TrainSettings;
  readonly data: TaskData;
  readonly session: RunSession<TaskBatch>;
  /** What its validations do beside the loss. */
  readonly assessment?: Assessment;
  readonly threads: number;
  readonly stepsDone: number;
}

/** Runs the largest batch twice and extrapolates. */
export async function planTask(facts: TaskFacts, signal: AbortSignal, progress: Progress): Promise<JobPlan> {
  const { session, settings, data } = facts;
  progress("measuring the largest batch", 0, 0);
  const runMs = await timeOf(session, session.plan.largest(), signal);
  const left = session.totalSteps - facts.stepsDone;
  const validations = Math.ceil(left / session.validateEvery) + 1;
  const assessed = session.validation.length === 0 ? 0 : (facts.assessment?.runs(settings.batchSize) ?? 0);
  const validationRuns = session.validation.length + assessed;
  // A forward pass takes about a third of both.
  const eachMs = settings.gradientAccumulationSteps * runMs;
  const ms = Math.min(
    left * eachMs + validations * validationRuns * (runMs / 3),
    settings.maxTimeMs ?? Number.POSITIVE_INFINITY,
  );
  const bytes = peakBytes() + 16 * session.trainableParameters;
  return {
    header: (out) => formatTaskHeader(facts, { ms, bytes }, out),
    data: formatExamples(data),
    json: {
      task: facts.task,
      steps: session.totalSteps,
      trainable_parameters: session.trainableParameters,
      train_rows: data.train.length,
      validation_rows: data.valid.length,
      data: data.digest,
      estimated_bytes: bytes,
      estimated_seconds: ms / 1000,
    },
  };
}

/** The second of two runs: the first also builds the graph. Changes no parameters. */
async function timeOf({ trainable }: RunSession<TaskBatch>, batch: TaskBatch, signal: AbortSignal): Promise<number> {
  const place = { total: trainable.count(batch), step: 0, run: 0, signal };
  await trainable.run(batch, place);
  const began = performance.now();
  await trainable.run(batch, place);
  return performance.now() - began;
}

function formatTaskHeader(
  { model, method, labels, hasNorms, settings, data, session, threads, stepsDone }: TaskFacts,
  { ms, bytes }: { readonly ms: number; readonly bytes: number },
  out: string,
): string {
  const { shortened } = data.counts;
  const perStep = settings.batchSize * settings.gradientAccumulationSteps;
  return formatFields([
    ["model", model],
    ["method", method],
    ...(hasNorms ? [["norms", "batch normalizations keep their statistics"] as const] : []),
    [
      "rows",
      `${data.train.length} to train on, ${data.valid.length} to validate${shortened > 0 ? `; ${shortened} shortened` : ""}`,
    ],
    ...(labels ? [["labels", labels.slice(0, 20).join(", ")] as const] : []),
    ["data", data.digest],
    ["steps", `${session.totalSteps} of ${perStep} rows, ${validationText(session)}`],
    ...(stepsDone > 0 ? [["resumed", `after step ${stepsDone}`] as const] : []),
    ["learning rate", `${settings.learningRate} at the peak`],
    ["memory", `about ${formatBytes(bytes)}`],
    ["time", `about ${formatTime(ms)} on ${threads} ${threads === 1 ? "thread" : "threads"}`],
    ["output", out],
  ]);
}

export function methodText({ adapter, targets, trainableParameters }: TaskSession): string {
  if (adapter === null) return `full: ${formatCount(trainableParameters)} trained`;
  const adapted = targets.filter(({ form }) => form.kind === "lora").length;
  const biases = targets.filter(({ form }) => form.kind === "bias").length;
  return adapterText({ ...adapter, adapted, whole: targets.length - adapted - biases, biases }, trainableParameters);
}

/** `adapted`, `whole`, `biases`: numbers of modules. */
export function adapterText(
  {
    shape,
    dora,
    adapted,
    whole,
    biases = 0,
  }: { shape: LoraShape; dora: boolean; adapted: number; whole: number; biases?: number },
  parameters: number,
): string {
  const heads = `${biases === 0 ? "" : `, ${biases} biases`}${whole === 0 ? "" : `, ${whole} saved whole`}`;
  return `${dora ? "DoRA" : "LoRA"} rank ${shape.rank}, alpha ${shape.alpha}${shape.rslora ? " (rsLoRA)" : ""} on ${adapted} modules${heads}: ${formatCount(parameters)} trained`;
}

/** The first two rows, by their places. */
function formatExamples({ train }: TaskData): string {
  return train
    .slice(0, 2)
    .map(({ place, target, size }) => `${shortPlace(place)} (${size} wide) ${describeTarget(target)}`)
    .join("\n");
}

/** Pictures of several folders may have the same name. */
const shortPlace = ({ file, line }: RowPlace): string =>
  line === null ? join(basename(dirname(file)), basename(file)) : `${basename(file)}:${line}`;

const describeTarget = (target: unknown): string => {
  const text = typeof target === "string" ? target : (JSON.stringify(target) ?? "");
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
};
