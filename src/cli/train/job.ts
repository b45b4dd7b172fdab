/** Opens and checks everything that a run of `train` needs, before anything is trained or written. */

import { LorikeetError } from "../../base/errors.js";
import { storedModules } from "../../model/modules.js";
import type { Checkpoint, DecoderConfig } from "../../model/types.js";
import type { DataSet } from "../../train/data/dataset.js";
import type { TokenRow } from "../../train/data/encode.js";
import { type OpenedAdapter, openAdapter } from "../../train/files/adapter-files.js";
import type { RunRecord } from "../../train/files/record.js";
import type { RunFolder } from "../../train/files/run-folder.js";
import { chooseModules, shortNames } from "../../train/lora.js";
import { countBytes, type Fitting, fitMemory, type MemoryShape } from "../../train/memory.js";
import { openSession, type TrainSession } from "../../train/session.js";
import type { TrainSettings } from "../../train/settings.js";
import { usableMemory, usableThreads } from "../machine.js";
import { requireGiven } from "../options/settings.js";
import { formatBytes } from "../options/units.js";
import { progressLine } from "../progress.js";
import type { Terminal } from "../terminal.js";
import { UsageError } from "../usage.js";
import { memoryForRun, recordOf, refuseGiven, requireDigest, requireLength, requireValidation } from "./checks.js";
import { openTrainModel, readData, type TrainModel } from "./model.js";
import { settingsOf, type TrainFlags, trainOptions } from "./options.js";
import { keptFault, openInitFrom, type ResumePoint, requireSteps, resumePoint } from "./start.js";

export interface TrainJob extends AsyncDisposable, ResumePoint {
  readonly flags: TrainFlags;
  readonly model: TrainModel;
  readonly checkpoint: Checkpoint;
  readonly settings: TrainSettings;
  readonly data: DataSet;
  readonly session: TrainSession;
  readonly threads: number;
  readonly record: RunRecord;
  /** Rows for the comparison of training and serving, and for sample answers. */
  readonly check: readonly TokenRow[];
}

const checkedRows = 16;

/** `folder`: of the model. `resumed`: the run to continue, which must match. Throws what the opening functions throw. */
export async function openJob(
  folder: string,
  flags: TrainFlags,
  terminal: Terminal,
  resumed: RunFolder | null = null,
): Promise<TrainJob> {
  requireGiven(trainOptions, flags, "model", "data");
  const progress = progressLine(terminal.stderr);
  refuseGiven(flags, ["task"], "is for task models; decoders are trained on text, or with --task text-classification.");
  refuseGiven(flags, ["modulesToSave"], "is for task models; the model is a decoder.");
  refuseGiven(flags, ["labels"], "is for task models, and for decoders with --task text-classification.");
  const model = await openTrainModel(folder, flags.chatTemplate);
  try {
    const { checkpoint } = model;
    const asked = settingsOf(flags, checkpoint.config);
    requireMethod(flags);
    requireLength(asked.maxLength, checkpoint.config.maxPositions);
    await using start = await openInitFrom(flags, folder, terminal);
    const initFrom = start && (await openAdapter(start.folder, checkpoint.config, storedModules(checkpoint)));
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
    const record = recordOf({
      base: { name: checkpoint.names[0], parameters: checkpoint.parameterCount, dtype: settings.dtype },
      ...{ settings, data },
      labels: data.labels,
      initFrom: initFrom?.digest ?? null,
    });
    const point = await resumePoint(resumed, record);
    const session = await openSession({
      checkpoint,
      settings,
      data,
      threads,
      initFrom: start?.folder ?? null,
      ...(flags.cacheDir === null ? {} : { cacheDirectory: flags.cacheDir }),
      progress: progress.report,
    });
    requireMemory(shapeOfRun(session, checkpoint, settings), settings);
    requireSteps(session.totalSteps, point);
    const rows = data.valid.length > 0 ? data.valid : data.train;
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
      ...point,
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

/** Rejects options that the method would ignore. */
function requireMethod(flags: TrainFlags): void {
  if (flags.method === "dpo" && flags.packing) {
    throw new UsageError(["--packing does not work with --method dpo."]);
  }
  if (flags.method === "dpo" && flags.tokenAccuracy) {
    throw new UsageError(["--token-accuracy does not work with --method dpo, which counts pairs."]);
  }
  if (flags.method === "dpo" && flags.trainOn !== "answers") {
    throw new UsageError([`--train-on ${flags.trainOn} does not work with --method dpo, which compares answers only.`]);
  }
  if (flags.method !== "full") return;
  refuseGiven(flags, adapterNames, "is for adapters; --method full does not train one.");
}

export const adapterNames = [
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
] as const;

/** Options that --init-from takes from the adapter. */
const shapeNames = ["loraR", "loraAlpha", "useRslora", "targetModules"] as const;

/** The settings with the shape of the --init-from adapter. Rejects a different shape; LoRA may become DoRA. */
export function keepShape(
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
  const faults = shapeNames.filter(isOther).map((name) => keptFault(name, asked[name], kept[name]));
  if (faults.length > 0) throw new UsageError(faults);
  return kept;
}

function shapeOfRun(session: TrainSession, { config }: Checkpoint, settings: TrainSettings): MemoryShape {
  const { rows, length } = session.plan.largest();
  return {
    ...{ config, rows, length, trainable: session.trainableParameters },
    weightBytes: settings.method === "full" ? 0 : session.base.bytes,
    dtype: settings.dtype,
    trainsHead: !session.facts || session.facts.modules.some(({ path }) => path === config.head.path),
    gradientCheckpointing: settings.gradientCheckpointing,
  };
}

/** Rejects a run that does not fit into memory, and suggests one that does. */
export function requireMemory(shape: MemoryShape, settings: TrainSettings): void {
  const { length } = shape;
  const needed = countBytes(shape);
  const memory = memoryForRun();
  if (needed <= memory) return;
  const fitting = fitMemory(shape, memory);
  const hint = fitting ? `It would fit with ${flagsOf(fitting, length, settings)}.` : "Use a smaller model.";
  const isBusy = needed <= usableMemory();
  const why = isBusy ? ` available (of ${formatBytes(usableMemory())})` : " of this machine";
  const advice = isBusy ? `Stop other programs, or make the run smaller. ${hint}` : hint;
  throw new LorikeetError(
    "out_of_memory",
    `The run needs about ${formatBytes(needed)}, more than the ${formatBytes(memory)}${why}. ${advice}`,
    { param: "--batch-size", found: needed, allowed: memory },
  );
}

/** The options of a run that fits, with about as many rows per step as requested. */
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
