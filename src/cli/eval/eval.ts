/** `lorikeet eval`: evaluates a base model or an adapter on data, in the serving engine. */

import { writeFile } from "node:fs/promises";
import type { Command } from "commander";
import type { Progress } from "../../base/log.js";
import { openCheckpoint } from "../../model/checkpoint/open.js";
import { isTaskModel } from "../../model/task/folder.js";
import type { Item } from "../../train/data/dataset.js";
import {
  answerable,
  answerRows,
  chooseLabels,
  type LossFigures,
  meanLoss,
  prefersChosen,
  rowLosses,
  type Share,
  scorePairs,
  shareOf,
} from "../../train/evaluate.js";
import type { OpenedHead } from "../../train/files/adapter-files.js";
import { readRecord } from "../../train/files/record.js";
import { openServed, type Served } from "../../train/served.js";
import { trainDefaults } from "../../train/settings.js";
import { openNamedAdapter } from "../adapters/source.js";
import { type DeviceFacts, describeDevice, formatDevice } from "../device.js";
import { floatDtypes } from "../halves.js";
import { usableThreads } from "../machine.js";
import { addOptions, readOptions } from "../options/command-line.js";
import { requireGiven } from "../options/settings.js";
import { tickingLine } from "../progress.js";
import { cancelledLine, listenForShutdown, type Shutdown, signalExitCode } from "../serve/shutdown.js";
import { formatFields } from "../table.js";
import { locateModel } from "../task-model.js";
import { printJson, printLine, type Terminal } from "../terminal.js";
import { encodingOf, openTrainModel, printWarnings, readData, type TrainModel } from "../train/model.js";
import { formatMetric } from "../train/report.js";
import { openScoreBase } from "../train/score-base.js";
import { scoreTask } from "../train/score-job.js";
import { Quit, UsageError } from "../usage.js";
import { type EvaluatedRow, formatDetails, joinResults } from "./details.js";
import { openEngineOptions } from "./engine.js";
import { type EvalFlags, evalOptions } from "./options.js";
import { adapterHead, evaluateScores } from "./score-eval.js";
import { evaluateTask, type TaskFigures } from "./task-eval.js";

export function addEval(program: Command, terminal: Terminal): void {
  const command = program
    .command("eval")
    .description("evaluate a base model or an adapter on data, in the serving engine");
  addOptions(command, evalOptions).action(() =>
    evaluate(readOptions(command, evalOptions, terminal.environment), terminal),
  );
}

export interface EvalFigures extends LossFigures {
  readonly data: string;
  readonly adapter: string | null;
  /** The type of the base model's weights here. */
  readonly dtype: string;
  readonly device: DeviceFacts;
  /** Their type when the adapter was trained; null without a record. */
  readonly trained_over: string | null;
  /** Rows whose label is the likeliest one; null if no row has a label. */
  readonly label_accuracy: (Share & { readonly names: readonly string[] }) | null;
  /** Pairs whose chosen answer is likelier than the rejected one; null without pairs. */
  readonly pair_accuracy: Share | null;
  /** Pairs whose chosen answer has the higher DPO reward (gain over the base model); null without an adapter. */
  readonly reward_accuracy: Share | null;
  /** Rows that greedy decoding answers exactly, up to the end token; null without such rows. */
  readonly exact_match: Share | null;
}

async function evaluate(flags: EvalFlags, terminal: Terminal): Promise<void> {
  requireGiven(evalOptions, flags, "model", "data");
  const folder = await locateModel(flags.model, terminal, flags);
  if (await isTaskModel(folder)) return await evaluateTaskModel(folder, flags, terminal);
  if (flags.task !== null && flags.task !== scoreTask) {
    throw new UsageError([`--task ${flags.task} is for task models; the model is a decoder.`]);
  }
  using shutdown = listenForShutdown(terminal);
  const progress = tickingLine(terminal.stderr);
  await using adapter =
    flags.adapter === null
      ? null
      : await openNamedAdapter(flags.adapter, { option: "--adapter", ...flags, model: folder }, terminal);
  const checkpoint = await openCheckpoint(folder);
  const head = adapter && (await adapterHead(adapter.folder, { checkpoint }));
  if (head || checkpoint.config.classifier || flags.task !== null) {
    return await evaluateClassifier(folder, flags, { head, adapter: adapter?.folder ?? null, shutdown }, terminal);
  }
  await using opened = await openTrainModel(folder, flags.chatTemplate);
  const record = adapter === null ? null : await readRecord(adapter.folder);
  const template =
    flags.labelTemplate?.replaceAll("\\n", "\n") ?? record?.label_template ?? trainDefaults.labelTemplate;
  const length = flags.maxLength ?? Math.min(trainDefaults.maxLength, checkpoint.config.maxPositions);
  const data = await readData(opened, {
    ...{ path: flags.data, maxLength: length, labelTemplate: template },
    ...{ seed: 0, validationSplit: 0, maxEvalSamples: Number.MAX_SAFE_INTEGER, wants: "both" },
    progress: progress.report,
  }).finally(() => progress.end());
  printWarnings(data, terminal.stderr);
  const items = evaluated(data).slice(0, flags.maxEvalSamples ?? undefined);
  if (items.length === 0) throw new UsageError([`${flags.data} has no row with tokens to evaluate.`]);
  try {
    progress.report("starting the engine", 0, 0);
    using engine = await openEngineOptions(checkpoint, flags, { maxContext: length, adapter: adapter?.folder ?? null });
    await using served = await openServed(engine.options);
    const { choice, halves } = engine;
    const labels = record?.labels?.length ? record.labels : data.labels;
    const { signal } = shutdown;
    const evaluation = { opened, template, labels, length, exact: flags.exactMatch, signal, progress: progress.report };
    const { figures, rows } = await evaluateItems(served, items, evaluation);
    progress.end();
    if (flags.details !== null) await writeFile(flags.details, formatDetails(rows, opened.tokenizer));
    const all = {
      data: data.digest,
      adapter: served.digest,
      dtype: engine.options.dtype,
      device: describeDevice(choice, {
        kvCacheDtype: floatDtypes[halves.cacheType],
        activationDtype: floatDtypes[halves.activationType],
      }),
      trained_over: record?.base?.dtype ?? null,
      ...figures,
    };
    if (flags.json) printJson(terminal.stdout, all);
    else printLine(terminal.stdout, formatFigures(all, flags.adapter));
  } catch (error) {
    if (!shutdown.signal.aborted) throw error;
    const name = await shutdown.requested;
    printLine(terminal.stderr, cancelledLine(name));
    throw new Quit(signalExitCode(name));
  } finally {
    progress.end();
  }
}

interface Classified {
  /** Of the adapter; null if it has none. */
  readonly head: OpenedHead | null;
  /** A PEFT folder; null: only the base. */
  readonly adapter: string | null;
  readonly shutdown: Shutdown;
}

/** A decoder with a classification head. */
async function evaluateClassifier(
  folder: string,
  flags: EvalFlags,
  { head, adapter, shutdown: { signal } }: Classified,
  terminal: Terminal,
): Promise<void> {
  requireGiven(evalOptions, flags, "data");
  refuseTextOptions(flags, `does not apply to ${scoreTask}.`);
  await using base = await openScoreBase(folder, flags.maxLength);
  const own = head ?? base.head;
  if (own === null) {
    throw new UsageError([`${flags.model} has no classification head; --adapter names an adapter that has one.`]);
  }
  const progress = tickingLine(terminal.stderr);
  try {
    using engine = await openEngineOptions(base.checkpoint, flags, { maxContext: base.maxLength, adapter });
    const options = { ...flags, data: flags.data, served: engine.options, signal, progress: progress.report };
    const figures = await evaluateScores(base, own, options);
    progress.end();
    printTaskFigures(figures, flags, terminal);
  } finally {
    progress.end();
  }
}

/** Options about generated text, where they are given. `why`: the rest of a sentence. */
function refuseTextOptions({ details, chatTemplate, labelTemplate, exactMatch }: EvalFlags, why: string): void {
  const given = Object.entries({ details, "chat-template": chatTemplate, "label-template": labelTemplate })
    .filter(([, value]) => value !== null)
    .map(([name]) => `--${name}`);
  const all = exactMatch ? given : [...given, "--no-exact-match"];
  if (all.length > 0) throw new UsageError(all.map((name) => `${name} ${why}`));
}

async function evaluateTaskModel(path: string, flags: EvalFlags, terminal: Terminal): Promise<void> {
  requireGiven(evalOptions, flags, "data");
  refuseTextOptions(flags, "is for decoders; the model is a task model.");
  using shutdown = listenForShutdown(terminal);
  const progress = tickingLine(terminal.stderr);
  await using adapter =
    flags.adapter === null
      ? null
      : await openNamedAdapter(flags.adapter, { option: "--adapter", ...flags, model: path }, terminal);
  const figures = await evaluateTask({
    ...flags,
    path,
    threads: flags.threads ?? usableThreads(),
    adapter: adapter?.folder ?? null,
    signal: shutdown.signal,
    progress: progress.report,
  }).finally(() => progress.end());
  printTaskFigures(figures, flags, terminal);
}

function printTaskFigures(figures: TaskFigures, flags: EvalFlags, terminal: Terminal): void {
  if (flags.json) {
    printJson(terminal.stdout, figures);
    return;
  }
  const { task, rows, data, loss, metrics, base } = figures;
  const beside = (text: string | null): string => (text === null ? "" : ` (the base: ${text})`);
  const fields: [string, string][] = [
    ["task", task],
    ["rows", String(rows)],
    ["data", data],
    ["adapter", flags.adapter === null ? "none" : `${flags.adapter}, weights digest ${figures.adapter}`],
    ["loss", `${loss.toFixed(4)}${beside(base?.loss.toFixed(4) ?? null)}`],
    ...Object.entries(metrics).map(([name, value]): [string, string] => {
      const before = base?.metrics[name];
      const compared = before === undefined ? null : formatMetric(name, before);
      return [name.replaceAll("_", " "), `${formatMetric(name, value)}${beside(compared)}`];
    }),
  ];
  printLine(terminal.stdout, formatFields(fields));
}

/** The test rows, or the validation rows, or all rows. */
function evaluated(data: { readonly [split in "train" | "valid" | "test"]: readonly Item[] }): readonly Item[] {
  if (data.test.length > 0) return data.test;
  return data.valid.length > 0 ? data.valid : data.train;
}

type RowFigures = Omit<EvalFigures, "data" | "adapter" | "dtype" | "device" | "trained_over">;

interface Evaluation {
  readonly opened: TrainModel;
  readonly template: string;
  readonly labels: readonly string[];
  readonly length: number;
  readonly exact: boolean;
  readonly signal: AbortSignal;
  readonly progress: Progress;
}

async function evaluateItems(
  served: Served,
  items: readonly Item[],
  { opened, template, labels, length, exact, signal, progress }: Evaluation,
): Promise<{ figures: RowFigures; rows: readonly EvaluatedRow[] }> {
  const rows = items.map(([row]) => row);
  const losses = await rowLosses(served, rows, { signal, progress });
  const sources = rows.flatMap(({ source }) => (source ? [source] : []));
  const choices = await chooseLabels(served, sources, {
    labels,
    encoding: encodingOf(opened, template),
    length,
    signal,
    progress,
  });
  const pairs = items.flatMap((item) => (item.length === 2 ? [item] : []));
  const scores = await scorePairs(served, pairs, { signal, progress });
  const isAdapted = pairs.length > 0 && served.digest !== null;
  const before = isAdapted ? await scorePairs(served, pairs, { adapter: false, signal, progress }) : null;
  const byRow = new Map(scores.flatMap((pair, i) => (pairs[i] ? [[pairs[i][0], pair] as const] : [])));
  const asked = exact ? answerable(items) : [];
  const { stopIds } = opened.checkpoint.config;
  const ends = opened.endId === null ? stopIds : [...new Set([...stopIds, opened.endId])];
  const answers = await answerRows(served, asked, { tokenizer: opened.tokenizer, stopIds: ends, signal, progress });
  const share = shareOf(choices.map(({ label, choice }) => label === choice));
  return {
    figures: {
      ...meanLoss(rows, losses),
      label_accuracy: choices.length === 0 ? null : { ...share, names: labels },
      pair_accuracy: pairs.length === 0 ? null : shareOf(prefersChosen(scores)),
      reward_accuracy: before === null ? null : shareOf(prefersChosen(scores, before)),
      exact_match: asked.length === 0 ? null : shareOf(answers.map(({ expected, answer }) => expected === answer)),
    },
    rows: joinResults(rows, losses, choices, answers, byRow),
  };
}

/** `adapter` is as the command line names it. */
function formatFigures(figures: EvalFigures, adapter: string | null): string {
  const percent = ({ right, rows, share }: Share): string => `${(100 * share).toFixed(1)} % (${right} of ${rows})`;
  const { label_accuracy: labels, exact_match: exact, pair_accuracy: pairs, reward_accuracy: rewards } = figures;
  return formatFields([
    ["rows", `${figures.rows}, ${figures.labels} tokens evaluated`],
    ["data", figures.data],
    ["base", `${figures.dtype}${figures.trained_over === null ? "" : `; trained over ${figures.trained_over}`}`],
    ["device", formatDevice(figures.device)],
    ["adapter", adapter === null ? "none" : `${adapter}, weights digest ${figures.adapter}`],
    ["loss", figures.loss.toFixed(4)],
    ["perplexity", figures.perplexity.toFixed(2)],
    ...(labels ? [["labels", `${percent(labels)}, by likelihood`] as const] : []),
    ...(pairs ? [["pairs", `${percent(pairs)} prefer the chosen answer`] as const] : []),
    ...(rewards ? [["rewards", `${percent(rewards)} prefer it more than the base`] as const] : []),
    ...(exact ? [["exact match", `${percent(exact)}, greedy`] as const] : []),
  ]);
}
