/** Everything that a run of `train` needs, opened in order and checked before anything is trained or written. */

import { basename, join } from "node:path";
import { LorikeetError } from "../../base/errors.js";
import type { Checkpoint, DecoderConfig } from "../../model/types.js";
import type { DataSet } from "../../train/data/dataset.js";
import type { TokenRow } from "../../train/data/encode.js";
import { type OpenedAdapter, openAdapter } from "../../train/files/adapter-files.js";
import { Checkpoints } from "../../train/files/checkpoints.js";
import { type RunRecord, readRecord } from "../../train/files/record.js";
import type { RunFolder } from "../../train/files/run-folder.js";
import { chooseModules, shortNames } from "../../train/lora.js";
import { countBytes, type Fitting, fitMemory } from "../../train/memory.js";
import { openSession, type TrainSession } from "../../train/session.js";
import type { TrainSettings } from "../../train/settings.js";
import { locate } from "../hub/model-folder.js";
import { freeMemory, usableMemory, usableThreads } from "../machine.js";
import { flagName } from "../options/options.js";
import { requireGiven } from "../options/settings.js";
import { formatBytes } from "../options/units.js";
import { progressLine } from "../progress.js";
import type { Terminal } from "../terminal.js";
import { UsageError } from "../usage.js";
import { openTrainModel, readData, type TrainModel } from "./model.js";
import { settingsOf, type TrainFlags, trainOptions } from "./options.js";

export interface TrainJob extends AsyncDisposable {
  readonly flags: TrainFlags;
  readonly model: TrainModel;
  readonly checkpoint: Checkpoint;
  readonly settings: TrainSettings;
  readonly data: DataSet;
  readonly session: TrainSession;
  readonly threads: number;
  readonly record: RunRecord;
  /** Rows by which training and serving are compared, and of which samples are made. */
  readonly check: readonly TokenRow[];
  /** Of the run that resumes. */
  readonly stepsDone: number;
  /** Whether that run had ended. */
  readonly isExtended: boolean;
}

const checkedRows = 16;

/** `resumed`: the run that must be the same as this one. Throws what the parts throw, and the signal's reason while it downloads. */
export async function openJob(
  flags: TrainFlags,
  terminal: Terminal,
  signal: AbortSignal,
  resumed: RunFolder | null = null,
): Promise<TrainJob> {
  requireGiven(trainOptions, flags, "model", "data");
  const progress = progressLine(terminal.stderr);
  const folder = await locate(flags.model, { option: "--model", kind: "model", signal }, terminal);
  const model = await openTrainModel(folder, flags.chatTemplate);
  try {
    const { checkpoint } = model;
    const asked = settingsOf(flags, checkpoint.config);
    requireMethod(flags);
    requireLength(asked.maxLength, checkpoint.config.maxPositions);
    const initFrom = flags.initFrom === null ? null : await openAdapter(flags.initFrom, checkpoint.config);
    const settings = initFrom ? keepShape(asked, initFrom, checkpoint.config) : asked;
    const data = await readData(model, {
      ...settings,
      path: flags.data,
      wants: settings.method === "dpo" ? "pairs" : "rows",
      progress: progress.report,
    });
    requireDigest(flags.dataDigest, data.digest);
    requireValidation(flags, data);
    const threads = flags.threads ?? usableThreads();
    const record = recordOf(model, settings, data, initFrom?.digest ?? null);
    const origin = resumed ? await resumed.origin() : null;
    if (origin !== null) requireSame(await readRecord(origin), record);
    const session = await openSession({
      checkpoint,
      settings,
      data,
      threads,
      initFrom: flags.initFrom,
      ...(flags.cacheDir === null ? {} : { cacheDirectory: flags.cacheDir }),
      progress: progress.report,
    });
    requireMemory(session, checkpoint, settings);
    const stepsDone = origin === null ? 0 : ((await Checkpoints.stepsIn(join(origin, "checkpoints"))).at(-1) ?? 0);
    const isExtended = origin !== null && origin === resumed?.out;
    requireSteps(session.totalSteps, stepsDone, isExtended);
    const [rows] = [data.valid.length > 0 ? data.valid : data.train];
    return {
      flags,
      model,
      checkpoint,
      settings,
      data,
      session,
      threads,
      record,
      check: rows.slice(0, checkedRows).map(([row]) => row),
      stepsDone,
      isExtended,
      async [Symbol.asyncDispose]() {
        await session[Symbol.asyncDispose]();
        await model[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await model[Symbol.asyncDispose]();
    throw error;
  } finally {
    progress.end();
  }
}

/** Every weight is trained without an adapter: what shapes one would be ignored. */
function requireMethod(flags: TrainFlags): void {
  if (flags.method === "dpo" && flags.packing) {
    throw new UsageError(["--packing puts rows together, and pairs stay apart: --method dpo goes without it."]);
  }
  if (flags.method === "dpo" && flags.trainOn !== "answers") {
    throw new UsageError([`--train-on ${flags.trainOn} is for rows: --method dpo compares answers, and only answers.`]);
  }
  if (flags.method !== "full") return;
  const given = adapterNames.filter((name) => String(flags[name]) !== String(trainOptions[name].fallback));
  if (given.length === 0) return;
  throw new UsageError(
    given.map((name) => `--${flagName(name)} is for adapters; --method full trains every weight and makes none.`),
  );
}

const adapterNames = [
  ...([
    "loraR",
    "loraAlpha",
    "targetModules",
    "loraDropout",
    "useRslora",
    "useDora",
    "loraplusLrRatio",
    "saveDtype",
    "initFrom",
    "dtype",
    "publish",
  ] as const),
];

/** What an adapter that is continued keeps. */
const shapeNames = ["loraR", "loraAlpha", "useRslora", "targetModules"] as const;

/** The settings with the shape of the adapter that is gone on with; another one that was asked for is refused. LoRA may become DoRA. */
function keepShape(
  asked: TrainSettings,
  { shape, modules, dora }: OpenedAdapter,
  config: DecoderConfig,
): TrainSettings {
  const kept: TrainSettings = {
    ...asked,
    loraR: shape.rank,
    loraAlpha: shape.alpha,
    useRslora: shape.rslora,
    useDora: asked.useDora || dora,
    targetModules: shortNames(config, modules),
  };
  const layers = (targets: readonly string[]): string =>
    chooseModules(config, targets, shape)
      .map(({ path }) => path)
      .join();
  const isOther = (name: (typeof shapeNames)[number]): boolean => {
    if (String(asked[name]) === String(trainOptions[name].fallback)) return false;
    return name === "targetModules"
      ? layers(asked.targetModules) !== layers(kept.targetModules)
      : asked[name] !== kept[name];
  };
  const faults = shapeNames
    .filter(isOther)
    .map(
      (name) => `--${flagName(name)} is ${asked[name]}, but the adapter of --init-from keeps its own: ${kept[name]}.`,
    );
  if (faults.length > 0) throw new UsageError(faults);
  return kept;
}

function requireDigest(allowed: string | null, found: string): void {
  if (allowed === null || allowed === found) return;
  throw new LorikeetError("data_invalid", `The data is ${found}, not the ${allowed} of --data-digest.`, {
    param: "--data-digest",
    found,
    allowed,
  });
}

/** Without validation rows there is no best: an option that asks for it would be ignored. */
function requireValidation(
  { earlyStoppingPatience: patience, loadBestModelAtEnd }: TrainFlags,
  { valid }: DataSet,
): void {
  if (valid.length > 0 || (patience === null && !loadBestModelAtEnd)) return;
  const name = patience === null ? "--load-best-model-at-end" : "--early-stopping-patience";
  throw new UsageError([
    `${name} goes by validation rows, and there are none: add a valid file or --validation-split.`,
  ]);
}

function requireLength(length: number, most: number): void {
  if (length <= most) return;
  throw new UsageError([`--max-length ${length} is more than the ${most} tokens that the model supports.`]);
}

function recordOf(
  { checkpoint }: TrainModel,
  settings: TrainSettings,
  data: DataSet,
  initFrom: string | null,
): RunRecord {
  return {
    base: { name: checkpoint.names[0], parameters: checkpoint.parameterCount, dtype: settings.dtype },
    data: {
      digest: data.digest,
      files: data.files.map(({ split, path, sha256 }) => ({ split, name: basename(path), sha256 })),
      counts: data.counts,
      train_rows: data.train.length,
      validation_rows: data.valid.length,
    },
    label_template: settings.labelTemplate,
    labels: data.labels,
    settings,
    init_from: initFrom,
    results: null,
  };
}

/** A run goes on only with what it began with. */
function requireSame(before: Partial<RunRecord> | null, now: RunRecord): void {
  if (!before) return; // it was stopped before it had written anything
  const same = (key: "base" | "data" | "init_from"): boolean =>
    JSON.stringify(before[key]) === JSON.stringify(now[key]);
  const names = { base: "base model", data: "data", init_from: "adapter of --init-from" } as const;
  const changed = (["base", "data", "init_from"] as const).filter((key) => !same(key)).map((key) => names[key]);
  if (changed.length === 0) return;
  throw new LorikeetError(
    "conflict",
    `The run cannot go on: the ${changed.join(" and the ")} has changed since it began. --overwrite begins anew.`,
    { param: "--resume", found: changed },
  );
}

/** A run that has ended needs more steps to go on, one that has not at least those that it has done. */
function requireSteps(total: number, done: number, hasEnded: boolean): void {
  if (hasEnded ? total > done : total >= done) return;
  const state = hasEnded ? "has ended" : "stands";
  throw new UsageError([`The run ${state} after step ${done} of ${total}: --max-steps or --epochs must give it more.`]);
}

/** Refuses a run that could not fit, with what would. */
function requireMemory(session: TrainSession, { config }: Checkpoint, settings: TrainSettings): void {
  const { rows, length } = session.plan.largest();
  const shape = {
    ...{ config, rows, length, trainable: session.trainableParameters },
    weightBytes: settings.method === "full" ? 0 : session.base.bytes,
    dtype: settings.dtype,
    trainsHead: !session.facts || session.facts.modules.some(({ path }) => path === config.head.linear.path),
    gradientCheckpointing: settings.gradientCheckpointing,
  };
  const needed = countBytes(shape);
  const memory = memoryForRun();
  if (needed <= memory) return;
  const fitting = fitMemory(shape, memory);
  const hint = fitting ? `It would fit with ${flagsOf(fitting, length, settings)}.` : "A smaller model is needed.";
  const isBusy = needed <= usableMemory();
  const why = isBusy ? ` that are free of ${formatBytes(usableMemory())}` : " of this machine";
  const advice = isBusy ? `End what else runs here, or make the run smaller. ${hint}` : hint;
  throw new LorikeetError(
    "out_of_memory",
    `The run needs about ${formatBytes(needed)}, more than the ${formatBytes(memory)}${why}. ${advice}`,
    { param: "--batch-size", found: needed, allowed: memory },
  );
}

/** What this process may hold in all: what is free, and what it holds already. */
export const memoryForRun = (): number => Math.min(usableMemory(), freeMemory() + process.memoryUsage.rss());

/** A step of about as many rows or pairs as were asked for. */
export function flagsOf(
  fitting: Fitting,
  length: number,
  { method, batchSize, gradientAccumulationSteps, gradientCheckpointing }: TrainSettings,
): string {
  const rows = Math.max(1, Math.floor(method === "dpo" ? fitting.rows / 2 : fitting.rows));
  return [
    `--batch-size ${rows} --gradient-accumulation-steps ${Math.ceil((batchSize * gradientAccumulationSteps) / rows)}`,
    ...(fitting.length < length ? [`--max-length ${fitting.length}`] : []),
    ...(fitting.gradientCheckpointing && !gradientCheckpointing ? ["--gradient-checkpointing"] : []),
  ].join(" ");
}
