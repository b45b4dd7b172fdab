/** What a card says of a run's figures: the validations, answers to some of their rows, and what was tested afterwards. */

import type { RunRecord, RunResults, TaskRecord, TestRecord } from "../files/record.js";
import type { TrainSettings } from "../settings.js";
import type { Metrics } from "../trainable.js";
import { count, fence, table } from "./text.js";

/** Metrics that are read as a share of the rows. */
const shares: Readonly<Record<string, string>> = { accuracy: "right", exact: "answered exactly", macro_f1: "macro F1" };

/** The figures that count: on rows that the run never saw, beside the base's. */
export function testLines(test: TestRecord | undefined, isModel: boolean): string[] {
  if (!test) return [];
  const { rows, unit, base_metrics: base, metrics, commands } = test;
  const shown = (name: string, value: number | undefined): string => {
    if (value === undefined) return "";
    if (name in shares) return `${(100 * value).toFixed(1)} %`;
    return value.toFixed(name === "ap50" ? 3 : 1);
  };
  const head = [`${count(rows)} ${unit}`, ...(isModel ? [""] : ["base", "with the adapter"])];
  const lines = Object.entries(metrics).map(([name, value]) => [
    shares[name] ?? (name === "perplexity" ? "perplexity, lower is better" : name.replaceAll("_", " ")),
    ...(isModel ? [] : [shown(name, base?.[name])]),
    shown(name, value),
  ]);
  return [table(head, lines), "", ...(commands.length > 0 ? ["Measured by:", "", fence("sh", commands), ""] : [])];
}

export function resultLines(results: RunResults, { data, settings, task }: RunRecord): string[] {
  const units = settings.method === "dpo" ? "validation pairs" : "validation rows";
  const hasPerplexity = !isPreference(settings) && !task;
  const rows = validationRows(results, hasPerplexity);
  return [
    ...(rows.length > 0
      ? [table([`${data.validation_rows} ${units}`, "loss", ...(hasPerplexity ? ["perplexity"] : [])], rows), ""]
      : []),
    ...metricLines(results),
    ...sampleLines(results),
    `${endings[results.ended] ?? results.ended} after ${results.steps} steps of ${settings.batchSize * settings.gradientAccumulationSteps} ${settings.method === "dpo" ? "pairs" : "rows"}; the weights of step ${results.kept_step} are saved: ${tokensText(results, task)}.${servedText(results, data)}`,
    "",
  ];
}

/** The loss of DPO is per pair, not per token, so there is no perplexity. */
export const isPreference = ({ method }: TrainSettings): boolean => method === "dpo";

/** Validation losses: before the run, of the last and of the best weights, and of the saved ones. */
function validationRows(results: RunResults, hasPerplexity: boolean): string[][] {
  const { base_validation_loss: before, written_validation_loss: written, kept_step: kept } = results;
  const { steps, last_validation_loss: last, best_step: bestStep, best_validation_loss: best } = results;
  const shown = (step: number): string => `step ${step}${step === kept ? ", kept" : ""}`;
  const entries: readonly (readonly [name: string, loss: number | null])[] = [
    ["before", before],
    [`${bestStep === steps ? "last and best" : "last"} (${shown(steps)})`, last],
    ...(bestStep === null || bestStep === steps ? [] : [[`best (${shown(bestStep)})`, best] as const]),
    ["as saved, rounded", written],
  ];
  return entries.flatMap(([name, loss]) =>
    loss === null ? [] : [[name, loss.toFixed(4), ...(hasPerplexity ? [perplexity(loss)] : [])]],
  );
}

/** What the validation measured besides the loss, before and after. */
function metricLines({ base_validation_metrics: before, validation_metrics: now }: RunResults): string[] {
  if (!before || !now) return [];
  const names = Object.keys(now);
  const cells = (metrics: Metrics): string[] => names.map((name) => metrics[name]?.toFixed(4) ?? "");
  const head = ["", ...names.map((name) => name.replaceAll("_", " "))];
  return [
    table(head, [
      ["before", ...cells(before)],
      ["kept", ...cells(now)],
    ]),
    "",
  ];
}

function sampleLines({ samples = [] }: RunResults): string[] {
  if (samples.length === 0) return [];
  const rows = samples.map(({ prompt, expected, before, after }) => [prompt, expected, before, after].map(shortened));
  return ["Some validation rows:", "", table(["row", "expected", "before", "kept"], rows), ""];
}

const shortened = (text: string): string => (text.length > 200 ? `${text.slice(0, 197)}...` : text);

const endings: Readonly<Record<string, string>> = {
  done: "Done",
  patience: "Stopped early, without further improvement,",
  time: "Stopped at its time limit",
  diverged: "Stopped because the loss diverged,",
};

const perplexity = (loss: number): string => Math.exp(loss).toFixed(2);
const tokensText = ({ tokens, seconds }: RunResults, task: TaskRecord | undefined): string =>
  `${tokens.toLocaleString("en-US")} ${task && !/^(text|token|feature)|^translation/.test(task.name) ? "rows" : "tokens"}${seconds > 0 ? `, ${Math.round(tokens / seconds)} a second` : ""}`;

function servedText({ served_check: check }: RunResults, { validation_rows: held }: RunRecord["data"]): string {
  if (!check) return "";
  return ` On ${check.rows} of the ${held > 0 ? "validation" : "training"} rows the loss is ${check.trained.toFixed(5)} by the training graph and ${check.served.toFixed(5)} as served over ${check.dtype}.`;
}
