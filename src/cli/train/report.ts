/** The output of `train` for humans: header, progress, samples and results. */

import { basename, join } from "node:path";
import type { Checkpoint } from "../../model/types.js";
import type { Tokenizer } from "../../text/types.js";
import type { BaseWeights } from "../../train/base-weights.js";
import type { DataSet, Item } from "../../train/data/dataset.js";
import type { TokenRow } from "../../train/data/encode.js";
import { countLabels } from "../../train/data/shorten.js";
import type { Estimate } from "../../train/estimate.js";
import { Checkpoints } from "../../train/files/checkpoints.js";
import type { RunResults } from "../../train/files/record.js";
import { defaultRate, rateReason } from "../../train/optimizer/default-rate.js";
import type { RunSession } from "../../train/run-session.js";
import type { TrainSession } from "../../train/session.js";
import type { TrainSettings } from "../../train/settings.js";
import type { Metrics } from "../../train/trainable.js";
import type { StepReport, TrainState, Validated } from "../../train/trainer.js";
import { formatBytes, formatCount } from "../options/units.js";
import { drawnLine, type ProgressStream } from "../progress.js";
import { formatFields } from "../table.js";

export interface HeaderFacts {
  readonly checkpoint: Checkpoint;
  readonly settings: TrainSettings;
  readonly data: DataSet;
  readonly session: TrainSession;
  readonly estimate: Estimate;
  readonly memory: number;
  readonly threads: number;
  /** Steps already done, if the run is resumed. */
  readonly stepsDone: number;
  readonly out: string;
}

export function formatHeader(facts: HeaderFacts): string {
  const { checkpoint, settings, data, session, estimate } = facts;
  const { parameterCount, config } = checkpoint;
  const rows = data.train.flatMap((item) => [...item]);
  const kinds = Object.entries(data.counts.kinds).map(([kind, count]) => `${count} ${kind}`);
  const { dropped, shortened } = data.counts;
  const forms = formsOf(data);
  const leftOut = dropped + shortened > 0 ? `; ${shortened} shortened, ${dropped} without a label skipped` : "";
  const labels = rows.reduce((sum, row) => sum + countLabels(row), 0);
  const perStep = settings.batchSize * settings.gradientAccumulationSteps;
  return formatFields([
    ["model", `${checkpoint.names[0]}, ${config.family}, ${formatCount(parameterCount)} parameters`],
    ["base", baseLine(session.base)],
    ["method", methodText(settings, session, parameterCount)],
    ["rows", `${data.train.length} to train on, ${data.valid.length} to validate (${kinds.join(", ")} read${leftOut})`],
    ...(forms.length > 1 ? [["forms", `mixed: ${forms.join(", ")}`] as const] : []),
    [
      "tokens",
      `${formatCount(tokensOf(rows))}, ${formatCount(labels)} of them in the loss; longest row ${longest(rows)}`,
    ],
    ["data", data.digest],
    [
      "steps",
      `${session.totalSteps} of ${perStep} ${settings.method === "dpo" ? "pairs" : "rows"}, ${validationText(session)}`,
    ],
    ...(facts.stepsDone > 0 ? [["resumed", resumedText(facts)] as const] : []),
    ["learning rate", `${settings.learningRate} at the peak${rateText(facts)}`],
    ["memory", `about ${formatBytes(estimate.bytes)} of ${formatBytes(facts.memory)} free`],
    [
      "time",
      `about ${formatTime(estimate.ms + estimate.endMs)} on ${facts.threads} ${facts.threads === 1 ? "thread" : "threads"}`,
    ],
    ["output", facts.out],
  ]);
}

/** How often a run validates, if it does. */
export function validationText({
  validation,
  validateEvery: every,
}: Pick<RunSession<unknown>, "validation" | "validateEvery">): string {
  if (validation.length === 0) return "without validation";
  return every === 1 ? "validation after each" : `validation after every ${every}`;
}

/** More steps stretch the schedule: the rate is that of a run that had them from the start. */
function resumedText({ session, stepsDone }: HeaderFacts): string {
  const { schedule, totalSteps } = session;
  if (stepsDone >= totalSteps) return `after step ${stepsDone}, the last one`;
  return `after step ${stepsDone}, at a learning rate of ${schedule(stepsDone).toExponential(2)} as in any run of ${totalSteps} steps`;
}

/** Explains a default learning rate. */
function rateText({ settings: { method, learningRate }, checkpoint: { config } }: HeaderFacts): string {
  return learningRate === defaultRate(method, config) ? `, ${rateReason(method, config)}` : "";
}

function baseLine({ dtype, bytes, blocks }: BaseWeights): string {
  const fallen =
    blocks.length > 0 ? `; ${blocks.length} weights in int8 blocks, because the error of their rows is too large` : "";
  return `${dtype}, ${formatBytes(bytes)}${dtype === "fp32" ? "" : " including copies for gradients"}${fallen}`;
}

function methodText({ method }: TrainSettings, session: TrainSession, parameters: number): string {
  const { facts, trainableParameters: trained } = session;
  if (!facts) return `${method}, every weight: ${formatCount(trained)} trained`;
  const { rank, alpha, rslora } = facts.shape;
  const share = ((100 * trained) / (parameters + trained)).toFixed(1);
  return `${method}, ${facts.dora ? "DoRA" : "LoRA"} rank ${rank}, alpha ${alpha}${rslora ? " (rsLoRA)" : ""} on ${facts.modules.length} layers: ${formatCount(trained)} trained, ${share} %`;
}

/** Each form of rows with its first line: mixed forms may be a mistake. */
function formsOf({ train, valid, test }: DataSet): string[] {
  const firsts = new Map<string, string>();
  for (const [{ kind, place }] of [...train, ...valid, ...test]) {
    if (!firsts.has(kind)) firsts.set(kind, `${kind} from ${basename(place.file)}:${place.line}`);
  }
  return [...firsts.values()];
}

const tokensOf = (rows: readonly TokenRow[]): number => rows.reduce((sum, { ids }) => sum + ids.length, 0);
const longest = (rows: readonly TokenRow[]): number => rows.reduce((most, { ids }) => Math.max(most, ids.length), 0);

/** `95000` → "1 min 35 s". */
export function formatTime(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Two rows, with ‹ and › around the tokens that count in the loss. */
export function formatRows(items: readonly Item[], tokenizer: Tokenizer): string {
  return items
    .slice(0, 2)
    .flatMap((item) => [...item])
    .map(
      (row) => `${row.place.file}:${row.place.line} (${row.kind}, ${row.ids.length} tokens)\n${marked(row, tokenizer)}`,
    )
    .join("\n\n");
}

function marked({ ids, trained }: TokenRow, tokenizer: Tokenizer): string {
  let text = "";
  for (let begin = 0; begin < ids.length; ) {
    let end = begin + 1;
    while (end < ids.length && trained[end] === trained[begin]) end++;
    const after = [...ids.subarray(0, begin)];
    const part = tokenizer.decode([...ids.subarray(begin, end)], { keepSpecialTokens: true, after });
    text += trained[begin] ? `‹${part}›` : part;
    begin = end;
  }
  return text;
}

/** A histogram of row lengths, in at most ten bars. */
export function formatLengths(items: readonly Item[]): string {
  const lengths = items.flatMap((item) => item.map(({ ids }) => ids.length));
  const most = lengths.reduce((a, b) => Math.max(a, b), 1);
  const least = lengths.reduce((a, b) => Math.min(a, b), most);
  const width = Math.ceil((most - least + 1) / 10);
  const bars = Array.from({ length: Math.ceil((most - least + 1) / width) }, () => 0);
  for (const length of lengths) {
    const bar = Math.floor((length - least) / width);
    bars[bar] = (bars[bar] ?? 0) + 1;
  }
  const highest = Math.max(1, ...bars);
  return bars
    .map((count, i) => {
      const first = least + i * width;
      const range = (width === 1 ? `${first}` : `${first}-${first + width - 1}`).padStart(11);
      return `${range}  ${"█".repeat(Math.ceil((40 * count) / highest))} ${count}`;
    })
    .join("\n");
}

/** The result of a run: what was saved, and the validation loss of the last and of the best weights. */
export function formatResults(
  { ended, seconds, kept_step: kept }: RunResults,
  { step, last, best }: TrainState,
  out: string,
  peakBytes: number,
): string {
  const validation = (at: Validated, more = ""): string =>
    `validation loss ${at.loss.toFixed(4)} at step ${at.step}${at.step === kept ? ", kept" : more}`;
  const checkpoint = best ? `; its weights are in ${Checkpoints.pathIn(join(out, "checkpoints"), best.step)}` : "";
  return formatFields([
    ["saved", `${out}, the weights of step ${kept}`],
    ["ended", `${ended} after ${step} steps in ${formatTime(1000 * seconds)}, peak memory ${formatBytes(peakBytes)}`],
    ...(last ? [["last", validation(last)] as const] : []),
    ...(best ? [["best", validation(best, checkpoint)] as const] : []),
  ]);
}

/** `, accuracy 95.0 %, margin 0.1234`; empty without metrics. */
export function formatMetrics(metrics: Metrics): string {
  return Object.entries(metrics)
    .map(([name, value]) => `, ${name.replaceAll("_", " ")} ${formatMetric(name, value)}`)
    .join("");
}

/** Shares as percentages; other figures as they are. */
export const formatMetric = (name: string, value: number): string =>
  shares.has(name) ? `${(100 * value).toFixed(1)} %` : value.toFixed(4);

const shares: ReadonlySet<string> = new Set(["accuracy", "micro_f1", "macro_f1", "span_f1", "exact", "ap50"]);

export interface TrainProgress {
  step(report: StepReport): void;
  /** Clears the line. Call it before printing anything else. */
  end(): void;
}

/** One redrawn line on a terminal, a line every five seconds elsewhere. The time left is based on all time since the first step, validations included. */
export function trainProgress(
  stream: ProgressStream,
  total: number,
  unit: string,
  now: () => number = Date.now,
): TrainProgress {
  const everyMs = stream.isTTY ? 100 : 5000;
  let shown = Number.NEGATIVE_INFINITY;
  const drawn = drawnLine(stream);
  let rate = 0;
  let first: { readonly step: number; readonly began: number } | null = null;
  return {
    step({ step, loss, rate: learning, tokens, ms }) {
      const weight = rate === 0 ? 1 : 0.1;
      rate += weight * ((1000 * tokens) / Math.max(ms, 1e-3) - rate);
      const time = now();
      first ??= { step: step - 1, began: time - ms };
      const stepMs = (time - first.began) / (step - first.step);
      if (time - shown < everyMs && step < total) return;
      shown = time;
      drawn.draw(
        `step ${step}/${total}  loss ${loss.toFixed(4)}  lr ${learning.toExponential(2)}  ${Math.round(rate)} ${unit}/s  ${formatTime((total - step) * stepMs)} left`,
      );
    },
    end: drawn.clear,
  };
}
