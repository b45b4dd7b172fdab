/** Assembles a run: weights, training step, batches, optimizer and schedule. */
import { basename } from "node:path";
import { LorikeetError } from "../base/errors.js";
import { labelledPlaces, type TokenBatch } from "./data/batch.js";
import { BatchPlan, plainBatches } from "./data/batches.js";
import type { DataSet } from "./data/dataset.js";
import { type DecoderOptions, type DecoderStep, openDecoderStep, openTargets } from "./decoder-step.js";
import { decoderTrainable } from "./decoder-trainable.js";
import { adapterProduct, checkpointProduct } from "./files/product.js";
import { logitBytes } from "./memory.js";
import { narrowWidths } from "./narrow.js";
import { nextToken, type Objective, preferences } from "./objectives.js";
import { optimizerOf, type RunSession } from "./run-session.js";
import { scheduleOf, totalSteps, validateEvery } from "./settings.js";

export interface SessionOptions extends DecoderOptions {
  readonly data: DataSet;
}

export interface TrainSession extends RunSession<TokenBatch>, DecoderStep {
  readonly objective: Objective;
  readonly plan: BatchPlan;
}

/** Throws `data_invalid` for data without rows to train on, `invalid_value` for invalid settings. */
export async function openSession(options: SessionOptions): Promise<TrainSession> {
  const { checkpoint, settings, data } = options;
  const { config } = checkpoint;
  if (data.train.length === 0) {
    throw new LorikeetError("data_invalid", nothingToTrainOn(data), { param: "--data", found: 0, allowed: 1 });
  }
  const targets = await openTargets(options);
  if (targets.start?.head) throw headNotTrained(options.initFrom);
  const { minTokens } = targets;
  const plan = new BatchPlan(data.train, {
    ...settings,
    packLength: settings.packing ? settings.maxLength : null,
    minTokens,
  });
  const validation = plainBatches(data.valid, settings.batchSize, minTokens);
  const objective = settings.method === "dpo" ? preferences(settings.beta) : nextToken;
  const opened = await openDecoderStep(options, targets, {
    minLabels: narrowWidths([config.hiddenSize]),
    chunks: headChunks(plan.largest(), config.vocabSize, logitBytes(settings.dtype)),
    loss: objective.loss,
    countsHits: settings.tokenAccuracy,
  });
  const { step, facts, inputs } = opened;
  // As in TRL, the reference is the initial adapter.
  if (targets.start && settings.method === "dpo") await step.freezeReference();
  const steps = totalSteps(settings, plan.stepsPerEpoch);
  const schedule = scheduleOf(settings, steps);
  return {
    ...opened,
    trainable: decoderTrainable({ stepper: step, objective, inputs }),
    unit: "tokens",
    product: facts
      ? adapterProduct(checkpoint, facts, step.parameters, settings.saveDtype)
      : checkpointProduct(checkpoint, step.parameters),
    objective,
    optimizer: optimizerOf(settings, step.parameters, schedule),
    schedule,
    plan,
    validation,
    totalSteps: steps,
    validateEvery: validateEvery(settings, steps),
    trainableParameters: step.values.length,
  };
}

function headNotTrained(folder: string | null): LorikeetError {
  const message = `${folder} has a classification head (score), which training on text does not continue; --task text-classification does.`;
  return new LorikeetError("adapter_unsupported", message, { param: "--init-from" });
}

/** The number of chunks of the head at which the logits of one take about `bytes`. */
function headChunks(batch: TokenBatch, vocabSize: number, bytes: number): number {
  const logits = 4 * labelledPlaces(batch).places.length * vocabSize;
  return Math.max(1, Math.min(64, Math.ceil(logits / bytes)));
}

function nothingToTrainOn({ counts, files }: DataSet): string {
  if (files.every(({ split }) => split !== "train")) {
    const names = files.map(({ path, split }) => `${basename(path)} for ${split}`).join(", ");
    return `The data has no file for training, only ${names}: name the training file train, for example train.jsonl.`;
  }
  return `The data has no row with a label to train on: ${counts.records} rows were read, ${counts.dropped} have none.`;
}
