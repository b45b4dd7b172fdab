/** A run that trains a task model's adapter. */

import { loadTaskAdapter } from "../../adapter/format.js";
import type { Graph } from "../../graph/types.js";
import type { TaskRecord } from "../../train/files/record.js";
import type { RunFolder } from "../../train/files/run-folder.js";
import { type TrainSettings, trainDefaults } from "../../train/settings.js";
import { keptManifest } from "../../train/tasks/model-files.js";
import { evaluateServed, openServedTask } from "../../train/tasks/served-task.js";
import { openTaskSession, type TaskSession } from "../../train/tasks/session.js";
import type { TaskGoal } from "../../train/tasks/setups/setup.js";
import { type OpenedTaskAdapter, openTaskAdapter } from "../../train/tasks/task-adapter.js";
import { loadTaskData, type TaskData } from "../../train/tasks/task-data.js";
import type { TaskBatch } from "../../train/tasks/trainable.js";
import { usableThreads } from "../machine.js";
import { requireGiven } from "../options/settings.js";
import { formatCount } from "../options/units.js";
import { progressLine } from "../progress.js";
import type { Terminal } from "../terminal.js";
import { UsageError } from "../usage.js";
import { recordOf, refuseGiven, requireDigest, requireValidation } from "./checks.js";
import { adapterNames } from "./job.js";
import { readLabels, requireKeptLabels } from "./labels.js";
import { settingsOf, type TrainFlags, trainOptions } from "./options.js";
import type { Job } from "./run-job.js";
import { keptFault, openInitFrom, requireSteps, resumePoint } from "./start.js";
import { openTaskBase, type TaskBase } from "./task-base.js";
import { methodText } from "./task-report.js";
import { comparedBatches, taskJob } from "./task-run.js";

/** What options of the command line do not say. */
export interface TaskJobOptions {
  /** Multiplies the default learning rate. */
  readonly rateFactor?: number;
  /** Whether rows with a label that the base lacks get a head for theirs, as --labels with them would make. */
  readonly makesLabels?: boolean;
}

/** `path`: of the model. `resumed`: the run to continue, which must match. Throws what the opening functions throw. */
export async function openTaskJob(
  path: string,
  flags: TrainFlags,
  terminal: Terminal,
  signal: AbortSignal,
  resumed: RunFolder | null,
  { rateFactor = 1, makesLabels = false }: TaskJobOptions = {},
): Promise<Job<TaskBatch>> {
  requireGiven(trainOptions, flags, "model", "data");
  refuseGiven(flags, decoderNames, "is for decoders; the model is a task model.");
  if (flags.method === "dpo") throw new UsageError(["--method dpo does not train task models; use sft or full."]);
  if (flags.method === "full") {
    refuseGiven(flags, [...adapterNames, "modulesToSave"], "is for adapters; --method full does not train one.");
  }
  const threads = flags.threads ?? usableThreads();
  const progress = progressLine(terminal.stderr);
  const { task, maxLength } = flags;
  const ownConstants = flags.method === "full";
  const base = await openTaskBase(path, { task, maxLength, threads, signal, ownConstants });
  try {
    const { model, setup } = base;
    const size = { hiddenSize: base.hiddenSize, family: "", maxPositions: base.maxLength ?? trainDefaults.maxLength };
    const usual = settingsOf(flags, size, flags.labels === null ? null : await readLabels(flags.labels));
    const asked = flags.learningRate === null ? { ...usual, learningRate: usual.learningRate * rateFactor } : usual;
    await using start = await openInitFrom(flags, path, terminal);
    const targets = base.modules.map(({ target }) => target);
    const modules = base.modules.map(({ module }) => module);
    const initFrom = start && (await openTaskAdapter(start.folder, modules, targets));
    if (initFrom) requireModules(flags, asked, initFrom);
    const chosen = initFrom ? keepShape(asked, initFrom) : asked;
    const data = await loadTaskData(setup.reader, { ...chosen, path: flags.data, progress: progress.report, signal });
    requireDigest(flags.dataDigest, data.digest);
    requireValidation(flags, data);
    const mayMake = makesLabels && chosen.labels === null && initFrom === null;
    const settings = { ...chosen, labels: (mayMake ? setup.newLabels?.(data) : null) ?? chosen.labels };
    const goal = setup.objective(data, settings.labels ?? initFrom?.labels ?? null);
    if (initFrom) requireKeptHead(initFrom, goal);
    requireRows(goal, settings, data);
    const session = await openTaskSession({
      ...{ model, setup, data, goal, settings, initFrom, threads },
      graph: base.graph,
      base: base.modules,
      modulesToSave: flags.modulesToSave,
    });
    const record = recordOf({
      base: { name: model.names[0], parameters: base.parameters, dtype: "fp32" },
      ...{ settings, data },
      labels: goal.labels ?? [],
      initFrom: initFrom?.digest ?? null,
      task: {
        name: base.task,
        heads: session.targets.flatMap(({ module, form }) => (form.kind === "whole" ? [module.path] : [])),
        frozen_norms: base.hasNorms,
        ...requestInputs(base.task, base.graph),
        ...goal.languages,
      },
      // Weights of their own hold no normalization that an adapter would have to know.
      ...(settings.method === "full" ? { model: { ...(await keptManifest(model)), foldedNorms: false } } : {}),
    });
    const point = await resumePoint(resumed, record);
    requireSteps(session.totalSteps, point);
    const { stepsDone, isExtended } = point;
    const facts = {
      ...{ settings, data, session, threads, stepsDone },
      model: `${model.names[0]}, ${base.task}, ${formatCount(base.parameters)} parameters`,
      ...{ task: base.task, method: methodText(session), labels: goal.labels, hasNorms: base.hasNorms },
      ...(goal.assessment && { assessment: goal.assessment }),
    };
    return taskJob(facts, base, {
      ...{ flags, record, isExtended },
      comparison: () => comparisonOf(base, session, data, settings, threads),
    });
  } catch (error) {
    await base[Symbol.asyncDispose]();
    throw error;
  } finally {
    progress.end();
  }
}

/** Of a policy, what a request has: one row of each input, where the graph gives its sizes. */
function requestInputs(task: string, { inputs }: Graph): Pick<TaskRecord, "inputs"> {
  if (task !== "reinforcement-learning") return {};
  const shapes = inputs.map(({ shape }) => [1, ...shape.slice(1)].filter((size) => typeof size === "number"));
  if (inputs.some(({ shape }, i) => shapes[i]?.length !== shape.length)) return {};
  const datatypes: Readonly<Record<string, string>> = { float32: "FP32", int64: "INT64", int32: "INT32" };
  return {
    inputs: inputs.map(({ name, type }, i) => ({ name, datatype: datatypes[type] ?? "FP32", shape: shapes[i] ?? [] })),
  };
}

/** Options that concern decoders only. */
const decoderNames = [
  "dtype",
  "chatTemplate",
  "labelTemplate",
  "trainOn",
  "packing",
  "gradientCheckpointing",
  "beta",
  "sampleEvery",
] as const;

const shapeNames = ["loraR", "loraAlpha", "useRslora"] as const;

/** The settings with the shape of the --init-from adapter. Rejects a different shape; LoRA may become DoRA. */
function keepShape(asked: TrainSettings, { shape, dora }: OpenedTaskAdapter): TrainSettings {
  const kept = { loraR: shape.rank, loraAlpha: shape.alpha, useRslora: shape.rslora };
  const faults = shapeNames
    .filter((name) => asked[name] !== trainOptions[name].fallback && asked[name] !== kept[name])
    .map((name) => keptFault(name, asked[name], kept[name]));
  if (faults.length > 0) throw new UsageError(faults);
  return { ...asked, ...kept, useDora: asked.useDora || dora };
}

/** Rejects modules and labels that the --init-from adapter would not get. */
function requireModules(flags: TrainFlags, { labels }: TrainSettings, { labels: kept }: OpenedTaskAdapter): void {
  refuseGiven(
    flags,
    ["targetModules", "modulesToSave"],
    "does not apply: the adapter of --init-from keeps its modules.",
  );
  requireKeptLabels(labels, kept);
}

/** Rejects batches that are too small to teach anything. */
function requireRows({ leastRows = 1 }: TaskGoal, { batchSize }: TrainSettings, { train }: TaskData): void {
  if (Math.min(batchSize, train.length) >= leastRows) return;
  const found = batchSize < leastRows ? `--batch-size is ${batchSize}` : `the data has ${train.length} training row`;
  throw new UsageError([
    `The other rows of a batch are what each row is told apart from: ${found}; at least ${leastRows} are needed.`,
  ]);
}

/** Rejects labels for which the --init-from adapter, which keeps its head, or else the base's, has other outputs. */
function requireKeptHead({ targets }: OpenedTaskAdapter, { freshHead, labels }: TaskGoal): void {
  const heads = targets.flatMap(({ module, form }) =>
    form.kind === "whole" ? [{ base: module.outFeatures, own: form.outFeatures }] : [],
  );
  const other = heads.find(({ base, own }) => base !== own) ?? heads[0];
  if (freshHead === null) {
    if (labels === null || other === undefined || other.base === other.own) return;
    const message = `The head of the --init-from adapter has ${other.own} outputs without names: --labels names them.`;
    throw new UsageError([message]);
  }
  if (heads.some(({ own }) => own === freshHead.width)) return;
  const kept = other ? `its head of ${other.own} outputs` : "the base's head";
  throw new UsageError([
    `--labels ${labels?.join()} takes a head of ${freshHead.width} outputs, but the adapter of --init-from keeps ${kept}.`,
  ]);
}

/** Some validation rows by the training graph and by the serving engine. */
function comparisonOf(
  base: TaskBase,
  { trainable, goal, adapter }: TaskSession,
  data: TaskData,
  { batchSize }: TrainSettings,
  threads: number,
) {
  const { rows, batches } = comparedBatches(data, batchSize);
  const lossOf = async (
    { model, probe, modules, setup: { inputs } }: TaskBase,
    path: string | null,
    signal: AbortSignal,
  ): Promise<number | null> => {
    const targets = modules.map(({ target }) => target);
    if (probe === null) {
      // The engine of encoder-decoders gives no losses of given texts; the adapter must load all the same.
      if (path !== null) await loadTaskAdapter(path, targets);
      return null;
    }
    await using served = await openServedTask({ model, probe, targets, adapter: path, threads });
    return (await evaluateServed(served, { inputs, objective: goal.objective, batches, signal })).loss;
  };
  return {
    rows,
    trained: async (signal: AbortSignal) =>
      base.probe === null ? null : (await trainable.evaluate(batches, { signal })).loss,
    async served(result: string, signal: AbortSignal) {
      if (adapter) return await lossOf(base, result, signal);
      await using whole = await openTaskBase(result, { task: base.task, maxLength: base.maxLength, threads, signal });
      return await lossOf(whole, null, signal);
    },
  };
}
