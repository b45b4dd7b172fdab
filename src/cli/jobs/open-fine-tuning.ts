/** Opens the fine-tuning API of a server: its folder, its jobs, and what they train. */
import { resolve } from "node:path";
import { Uploads } from "../../adapter/upload/upload.js";
import { LorikeetError } from "../../base/errors.js";
import type { Logger } from "../../base/log.js";
import type { BaseDtype } from "../../engine/start.js";
import type { Bases } from "../../gateway/bases.js";
import { FineTuning } from "../../gateway/fine-tuning/fine-tuning.js";
import { type FineTuningFolder, openFineTuningFolder } from "../../jobs/folder.js";
import { Jobs } from "../../jobs/jobs.js";
import type { TrainableBase } from "../../jobs/types.js";
import { taskWeightBytes } from "../../model/task/weight-bytes.js";
import { hidePaths } from "../../server/private-paths.js";
import { processBytes } from "../../train/memory.js";
import { freeMemory, usableMemory } from "../machine.js";
import { requireNoFile } from "../options/paths.js";
import { formatBytes } from "../options/units.js";
import type { Seq2SeqStack } from "../seq2seq-stack.js";
import { fileBoundsOf, jobBoundsOf, uploadLimitsOf } from "../serve/mapping.js";
import { isDecoderStack, type OpenedBases } from "../serve/opened-bases.js";
import type { BaseSettings, ServeSettings } from "../serve/options.js";
import { privateFoldersOf } from "../serve/private-folders.js";
import type { Stack } from "../stack.js";
import type { TaskStack } from "../task-stack.js";
import { scoreTask } from "../train/score-job.js";
import { jobTaskOf } from "./job-tasks.js";
import type { TrainingBase } from "./messages.js";
import { startTraining } from "./training-process.js";

/** Disposing of it stops running jobs at a checkpoint and leaves the folder. */
export interface OpenFineTuning extends AsyncDisposable {
  readonly fineTuning: FineTuning;
  /** Starts to run jobs. */
  start(): Promise<void>;
  /** Stops running jobs at a checkpoint; no more start. */
  stop(): Promise<void>;
}

/** The folder of --fine-tuning; null without. Throws a UsageError, or what opening it throws. */
export async function openTuningFolder(settings: ServeSettings): Promise<FineTuningFolder | null> {
  if (settings.fineTuning === null) return null;
  await requireNoFile("--fine-tuning", settings.fineTuning);
  return openFineTuningFolder(resolve(settings.fineTuning), fileBoundsOf(settings));
}

/** `sharesRows`: without keys everybody sees every file already. */
export function openFineTuning(
  folder: FineTuningFolder,
  { stacks, bases }: Pick<OpenedBases, "stacks" | "bases">,
  settings: ServeSettings,
  ofBases: readonly BaseSettings[],
  { logger, sharesRows }: { readonly logger: Logger; readonly sharesRows: boolean },
): OpenFineTuning {
  const privateFolders = privateFoldersOf(settings, ofBases);
  const trainable = stacks.flatMap((stack, index) => {
    if (isDecoderStack(stack)) return [decoderBaseOf(stack, bases, ofBases[index] ?? settings, settings)];
    const task = jobTaskOf(stack.model.task);
    return task === null ? [] : [taskBaseOf(stack, task, bases, settings)];
  });
  const jobs = new Jobs({
    jobs: folder.jobs,
    files: folder.files,
    bases: trainable,
    others: stacks.map(({ name }) => name).filter((name) => trainable.every(({ names }) => !names.includes(name))),
    bounds: jobBoundsOf(settings),
    load: () => stacks.reduce((sum, { gateway }) => sum + loadOf(gateway.stats().engine), 0),
    publicText: (text) => hidePaths(text, privateFolders),
    sharesRows,
    logger,
  });
  const limits = { ...uploadLimitsOf(settings), receivedBytes: settings.maxFileBytes };
  const fineTuning = new FineTuning({ files: folder.files, jobs, uploads: new Uploads(limits), limits });
  const stop = (): Promise<void> => jobs[Symbol.asyncDispose]();
  return {
    fineTuning,
    start: () => jobs.start(),
    stop,
    async [Symbol.asyncDispose]() {
      await stop();
      await folder[Symbol.asyncDispose]();
    },
  };
}

const loadOf = ({ running, waiting }: { readonly running: number; readonly waiting: number }): number =>
  running + waiting;

/** A decoder that a server runs, as jobs train it: over the same weights where training knows their type. */
function decoderBaseOf(
  stack: Stack,
  bases: Bases,
  { chatTemplate, cacheDir }: Pick<BaseSettings, "chatTemplate" | "cacheDir">,
  settings: ServeSettings,
): TrainableBase {
  const { checkpoint, precision } = stack;
  const dtype: BaseDtype = precision.dtype === "int8" || precision.dtype === "int4" ? precision.dtype : "fp32";
  const own = { kind: "decoder", folder: checkpoint.directory, dtype, chatTemplate, cacheDir } as const;
  return {
    ...baseOf(stack, own, bases, settings),
    // A checkpoint with a classification head cannot generate text.
    ...(checkpoint.config.classifier
      ? { tasks: [scoreTask], methods: ["supervised"] }
      : { tasks: ["text-generation", scoreTask], methods: ["supervised", "dpo"] }),
    memoryFault: () => memoryFaultOf(checkpoint.parameterCount * bytesPerWeight[dtype]),
  };
}

/** A task model that a server runs, as jobs train it: in float32. */
function taskBaseOf(
  stack: TaskStack | Seq2SeqStack,
  task: string,
  bases: Bases,
  settings: ServeSettings,
): TrainableBase {
  const { model } = stack;
  const own = { kind: "task", folder: model.path, dtype: "fp32", chatTemplate: null, cacheDir: null } as const;
  return {
    ...baseOf(stack, own, bases, settings),
    tasks: [task],
    methods: ["supervised"],
    memoryFault: () => memoryFaultOf(taskWeightBytes(model, null)),
  };
}

function baseOf(
  { name, adapters, threads }: Pick<Stack | TaskStack | Seq2SeqStack, "name" | "adapters" | "threads">,
  own: Pick<TrainingBase, "kind" | "folder" | "dtype" | "chatTemplate" | "cacheDir">,
  { adapters: published, all }: Bases,
  settings: ServeSettings,
): Pick<TrainableBase, "names" | "start" | "publish"> {
  const base: TrainingBase = {
    ...own,
    threads: settings.trainingThreads ?? Math.max(1, Math.floor(threads / 2)),
    nice: settings.trainingNice,
    maxTimeMs: settings.maxTrainingTime,
  };
  return {
    names: [name],
    start: (run, report) => startTraining(base, run, report),
    publish: async (adapter, folder, job) => {
      const staged = await adapters?.store.stageCopy(folder);
      if (staged === undefined) throw new LorikeetError("internal", "There is no store for the adapters of jobs.");
      await published.store(adapter, staged, false, { base: all.length > 1 ? name : null, job });
    },
  };
}

/** Bytes of a weight while it is trained over: quantized ones are packed, and have a copy for gradients. */
const bytesPerWeight = { fp32: 4, fp16: 4, int8: 3, int4: 2.5 } as const;

/** Of the least that a run takes. The process itself counts what its own rows take. */
function memoryFaultOf(weightBytes: number): ReturnType<TrainableBase["memoryFault"]> {
  const needed = processBytes + weightBytes;
  const free = freeMemory();
  if (needed <= free) return null;
  const most = usableMemory() - process.memoryUsage.rss();
  const allowed = needed <= most ? free : most;
  const message = `A fine-tuning job needs at least ${formatBytes(needed)} of memory; ${formatBytes(allowed)} is available alongside the server.`;
  return { fault: new LorikeetError("out_of_memory", message, { found: needed, allowed }), isPassing: needed <= most };
}
