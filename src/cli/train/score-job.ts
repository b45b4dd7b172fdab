/** A run that trains a decoder to classify texts: an adapter and a classification head. */

import { openTargets } from "../../train/decoder-step.js";
import type { RunFolder } from "../../train/files/run-folder.js";
import { labelsOf, scoreGoal } from "../../train/score/goal.js";
import { openServedScores, scoreInputs } from "../../train/score/served.js";
import { openScoreSession, type ScoreSession } from "../../train/score/session.js";
import type { TrainSettings } from "../../train/settings.js";
import { newLabels } from "../../train/tasks/labels.js";
import { evaluateServed } from "../../train/tasks/served-task.js";
import { loadTaskData, type TaskData } from "../../train/tasks/task-data.js";
import type { TaskBatch } from "../../train/tasks/trainable.js";
import { usableThreads } from "../machine.js";
import { requireGiven } from "../options/settings.js";
import { formatCount } from "../options/units.js";
import { progressLine } from "../progress.js";
import type { Terminal } from "../terminal.js";
import { UsageError } from "../usage.js";
import { recordOf, refuseGiven, requireDigest, requireValidation } from "./checks.js";
import { keepShape, requireMemory } from "./job.js";
import { readLabels, requireKeptLabels } from "./labels.js";
import { settingsOf, type TrainFlags, trainOptions } from "./options.js";
import type { Job } from "./run-job.js";
import { openScoreBase, type ScoreBase } from "./score-base.js";
import { openInitFrom, requireSteps, resumePoint } from "./start.js";
import type { TaskJobOptions } from "./task-job.js";
import { adapterText } from "./task-report.js";
import { comparedBatches, taskJob } from "./task-run.js";

export const scoreTask = "text-classification";

/** `folder`: of the model. `resumed`: the run to continue, which must match. */
export async function openScoreJob(
  folder: string,
  flags: TrainFlags,
  terminal: Terminal,
  signal: AbortSignal,
  resumed: RunFolder | null,
  { rateFactor = 1, makesLabels = false }: TaskJobOptions = {},
): Promise<Job<TaskBatch>> {
  requireGiven(trainOptions, flags, "model", "data");
  refuseGiven(
    flags,
    ["modulesToSave"],
    "is for task models; the model is a decoder, whose layer `score` is saved whole.",
  );
  refuseGiven(flags, textNames, `does not apply to --task ${scoreTask}.`);
  if (flags.task !== null && flags.task !== scoreTask) {
    throw new UsageError([
      `--task is ${flags.task}, but the model is a classifier, which is trained for ${scoreTask}.`,
    ]);
  }
  if (flags.method !== "sft") {
    throw new UsageError([
      `--method ${flags.method} does not train a decoder for ${scoreTask}; an adapter with sft does.`,
    ]);
  }
  const threads = flags.threads ?? usableThreads();
  const progress = progressLine(terminal.stderr);
  const base = await openScoreBase(folder, flags.maxLength);
  try {
    const { checkpoint } = base;
    const { config } = checkpoint;
    const usual = settingsOf(flags, config, flags.labels === null ? null : await readLabels(flags.labels));
    const asked = flags.learningRate === null ? { ...usual, learningRate: usual.learningRate * rateFactor } : usual;
    await using start = await openInitFrom(flags, folder, terminal);
    const cache = flags.cacheDir === null ? {} : { cacheDirectory: flags.cacheDir };
    const decoder = {
      ...{ checkpoint, threads, ...cache },
      initFrom: start?.folder ?? null,
      progress: progress.report,
    };
    const targets = await openTargets({ ...decoder, settings: asked });
    const ownHead = targets.start?.head ?? null;
    requireKeptLabels(asked.labels, ownHead?.labels ?? null, ownHead?.outFeatures ?? null);
    const chosen = targets.start ? keepShape(asked, targets.start, config) : asked;
    const data = await loadTaskData(base.reader, { ...chosen, path: flags.data, progress: progress.report, signal });
    requireDigest(flags.dataDigest, data.digest);
    requireValidation(flags, data);
    const mayMake = makesLabels && chosen.labels === null && targets.start === null;
    const made = mayMake ? newLabels(labelsOf(data), base.head?.labels ?? null) : null;
    const settings = { ...chosen, labels: made ?? chosen.labels };
    const goal = scoreGoal(data, settings.labels, targets.start?.head ?? base.head);
    const record = recordOf({
      base: { name: checkpoint.names[0], parameters: checkpoint.parameterCount, dtype: settings.dtype },
      ...{ settings, data },
      labels: goal.names,
      initFrom: targets.start?.digest ?? null,
      task: { name: scoreTask, heads: ["score"], frozen_norms: false },
    });
    const point = await resumePoint(resumed, record);
    const session = await openScoreSession({ ...decoder, ...{ settings, targets, data, goal } });
    requireMemory(
      {
        config: { ...config, vocabSize: goal.labels.length },
        ...{ rows: settings.batchSize, length: Math.max(...session.plan.largest().map(({ size }) => size)) },
        ...{ trainable: session.trainableParameters, weightBytes: session.base.bytes, trainsHead: true },
        ...{ dtype: settings.dtype, gradientCheckpointing: settings.gradientCheckpointing },
      },
      settings,
    );
    requireSteps(session.totalSteps, point);
    const { stepsDone, isExtended } = point;
    const facts = {
      ...{ settings, data, session, threads, stepsDone },
      model: `${checkpoint.names[0]}, ${scoreTask}, ${formatCount(checkpoint.parameterCount)} parameters as ${settings.dtype}`,
      ...{ task: scoreTask, method: methodText(session), labels: goal.names, hasNorms: false },
    };
    return taskJob(facts, base, {
      ...{ flags, record, isExtended },
      comparison: () => comparisonOf(base, session, data, settings, { threads, ...cache }),
    });
  } catch (error) {
    await base[Symbol.asyncDispose]();
    throw error;
  } finally {
    progress.end();
  }
}

/** Options of training on text. */
const textNames = [
  "chatTemplate",
  "labelTemplate",
  "trainOn",
  "packing",
  "tokenAccuracy",
  "beta",
  "sampleEvery",
] as const;

function methodText({ facts, trainableParameters }: ScoreSession): string {
  return adapterText({ ...facts, adapted: facts.modules.length, whole: 1 }, trainableParameters);
}

/** Some validation rows by the training graph and by the serving engine. */
function comparisonOf(
  { checkpoint, maxLength }: ScoreBase,
  { trainable, goal }: ScoreSession,
  data: TaskData,
  { batchSize, dtype }: TrainSettings,
  more: { readonly threads: number; readonly cacheDirectory?: string },
) {
  const { rows, batches } = comparedBatches(data, Math.min(batchSize, 4)); // no more memory than the run itself
  return {
    rows,
    trained: async (signal: AbortSignal) => (await trainable.evaluate(batches, { signal })).loss,
    async served(adapter: string, signal: AbortSignal) {
      const options = { ...{ checkpoint, dtype, adapter }, maxContext: maxLength, maxBatch: 4, ...more };
      await using served = await openServedScores(options);
      return (await evaluateServed(served, { inputs: scoreInputs, objective: goal.objective, batches, signal })).loss;
    },
  };
}
