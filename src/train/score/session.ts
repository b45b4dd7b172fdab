/** Assembles a run that trains a classification head over a decoder, with an adapter below it. */

import { assert, LorikeetError } from "../../base/errors.js";
import { scoreWeight } from "../../model/modules.js";
import { type DecoderOptions, type DecoderStep, type DecoderTargets, openDecoderStep } from "../decoder-step.js";
import type { AdapterFacts } from "../files/adapter-files.js";
import { adapterProduct, readWeights } from "../files/product.js";
import { narrowWidths } from "../narrow.js";
import { Draws, purposes } from "../random.js";
import { optimizerOf, type RunSession } from "../run-session.js";
import { scheduleOf, totalSteps, validateEvery } from "../settings.js";
import type { TrainStep } from "../step.js";
import { fillUniform } from "../tasks/start-values.js";
import type { TaskData } from "../tasks/task-data.js";
import { plainTaskBatches, type TaskBatch, TaskPlan } from "../tasks/trainable.js";
import type { ScoreGoal } from "./goal.js";
import { scoreTrainable } from "./trainable.js";

export interface ScoreSessionOptions extends DecoderOptions {
  readonly targets: DecoderTargets;
  readonly data: TaskData;
  readonly goal: ScoreGoal;
}

export interface ScoreSession extends RunSession<TaskBatch>, DecoderStep {
  readonly facts: AdapterFacts;
  readonly plan: TaskPlan;
  readonly goal: ScoreGoal;
}

/** Throws `data_invalid` for data without rows to train on, `invalid_value` for invalid settings and for an adapter of the head that is replaced. */
export async function openScoreSession(options: ScoreSessionOptions): Promise<ScoreSession> {
  const { checkpoint, settings, data, goal, targets } = options;
  const { config } = checkpoint;
  if (targets.modules.some(({ path }) => path === config.head.path)) {
    const message = `An adapter of ${config.head.path} cannot be trained with a classification head, which takes its place; leave it out of --target-modules.`;
    throw new LorikeetError("invalid_value", message, { param: "--target-modules", found: config.head.path });
  }
  if (data.train.length === 0) {
    const message = "The data has no row to train on.";
    throw new LorikeetError("data_invalid", message, { param: "--data", found: 0, allowed: 1 });
  }
  const outFeatures = goal.labels.length;
  const parts = { minLabels: narrowWidths([config.hiddenSize, outFeatures]), chunks: 1, score: { outFeatures } };
  const opened = await openDecoderStep(options, targets, parts, goal.names);
  try {
    const { step, facts } = opened;
    assert(facts, "a classification head is trained with an adapter");
    startHead(step, options);
    const plan = new TaskPlan(data.train, settings);
    const steps = totalSteps(settings, plan.stepsPerEpoch);
    const schedule = scheduleOf(settings, steps);
    return {
      ...opened,
      ...{ facts, plan, goal, schedule },
      trainable: scoreTrainable(opened, goal, { padId: config.padId, minTokens: targets.minTokens }),
      unit: goal.objective.unit ?? "rows",
      product: adapterProduct(checkpoint, facts, step.parameters, settings.saveDtype),
      optimizer: optimizerOf(settings, step.parameters, schedule),
      validation: plainTaskBatches(data.valid, settings.batchSize),
      totalSteps: steps,
      validateEvery: validateEvery(settings, steps),
      trainableParameters: step.values.length,
    };
  } catch (error) {
    await opened[Symbol.asyncDispose]();
    throw error;
  }
}

/** The layer's values: fresh ones, or the base's. Those of an adapter have been read with it. */
function startHead({ parameters }: TrainStep, { goal, settings, checkpoint, targets }: ScoreSessionOptions): void {
  const head = parameters.filter(({ name }) => name === scoreWeight);
  if (goal.isFresh) {
    for (const { data } of head) {
      fillUniform(data, checkpoint.config.hiddenSize, new Draws(settings.seed, purposes.initialize, parameters.length));
    }
  } else if (!targets.start?.head) readWeights(checkpoint, head);
}
