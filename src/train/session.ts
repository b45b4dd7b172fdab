/** Assembles a run: weights, training step, batches, optimizer and schedule. */
import { basename } from "node:path";
import { LorikeetError } from "../base/errors.js";
import type { Progress } from "../base/log.js";
import { layerModules, storedModules, transposedPaths } from "../model/modules.js";
import type { Checkpoint } from "../model/types.js";
import type { SessionOptions as RuntimeOptions } from "../runtime/session.js";
import { WeightNorms } from "../weights/norms.js";
import { type BaseWeights, openBase } from "./base-weights.js";
import { labelledPlaces, type TokenBatch } from "./data/batch.js";
import { BatchPlan, plainBatches } from "./data/batches.js";
import type { DataSet } from "./data/dataset.js";
import { decoderTrainable } from "./decoder-trainable.js";
import { startMagnitudes } from "./dora.js";
import { dropoutMasks, type MaskedModule } from "./dropout.js";
import { type AdapterFacts, openAdapter } from "./files/adapter-files.js";
import { adapterProduct, checkpointProduct, readWeights } from "./files/product.js";
import { chooseModules, initialize, type LoraModule, peftTargetModules, shortNames } from "./lora.js";
import { logitBytes } from "./memory.js";
import { narrowColumns, narrowWidths } from "./narrow.js";
import { nextToken, type Objective, preferences } from "./objectives.js";
import { optimizerOf, type RunSession } from "./run-session.js";
import { scheduleOf, shapeOf, type TrainSettings, totalSteps, validateEvery } from "./settings.js";
import { type RunOptions, TrainStep } from "./step.js";

export interface SessionOptions {
  readonly checkpoint: Checkpoint;
  readonly settings: TrainSettings;
  readonly data: DataSet;
  readonly threads: number;
  /** A PEFT folder to continue from, which sets target modules, ranks, scales and magnitudes. */
  readonly initFrom: string | null;
  readonly cacheDirectory?: string;
  readonly progress?: Progress;
  /** Further options of the step's sessions, for benchmarks. */
  readonly runtime?: Partial<RuntimeOptions>;
}

export interface TrainSession extends RunSession<TokenBatch> {
  readonly step: TrainStep;
  readonly base: BaseWeights;
  /** Of the adapter; null if every weight is trained. */
  readonly facts: AdapterFacts | null;
  readonly objective: Objective;
  readonly plan: BatchPlan;
  /** Dropout masks of a run; undefined without dropout. */
  readonly inputs: ((batch: TokenBatch, step: number, run: number) => RunOptions["inputs"]) | undefined;
}

/** Throws `data_invalid` for data without rows to train on, `invalid_value` for invalid settings. */
export async function openSession(options: SessionOptions): Promise<TrainSession> {
  const { checkpoint, settings, data, threads } = options;
  const { config } = checkpoint;
  if (data.train.length === 0) {
    throw new LorikeetError("data_invalid", nothingToTrainOn(data), { param: "--data", found: 0, allowed: 1 });
  }
  const isFull = settings.method === "full";
  const start =
    options.initFrom === null ? null : await openAdapter(options.initFrom, config, storedModules(checkpoint));
  const shape = start?.shape ?? shapeOf(settings);
  const dora = settings.useDora || (start?.dora ?? false);
  const modules = start?.modules ?? (isFull ? [] : chooseModules(config, settings.targetModules, shape));
  const minTokens = narrowColumns(
    layerModules(config),
    modules.map(({ rank }) => rank),
  );
  const plan = new BatchPlan(data.train, {
    ...settings,
    packLength: settings.packing ? settings.maxLength : null,
    minTokens,
  });
  const validation = plainBatches(data.valid, settings.batchSize, minTokens);
  const objective = settings.method === "dpo" ? preferences(settings.beta) : nextToken;
  const base = await openBase({
    checkpoint,
    dtype: settings.dtype,
    threads,
    ...(options.cacheDirectory === undefined ? {} : { cacheDirectory: options.cacheDirectory }),
    ...(options.progress === undefined ? {} : { progress: options.progress }),
  });
  const norms = new WeightNorms(checkpoint, { threads });
  const step = TrainStep.create({
    config,
    weights: base.weights,
    mode: isFull ? "full" : "lora",
    modules: new Map(modules.map(({ path, rank, scale }) => [path, { rank, scale }])),
    dropout: settings.loraDropout,
    dora,
    norms,
    maxLength: Math.max(settings.maxLength, minTokens),
    minLabels: narrowWidths([config.hiddenSize]),
    chunks: headChunks(plan.largest(), config.vocabSize, logitBytes(settings.dtype)),
    threads,
    loss: objective.loss,
    countsHits: settings.tokenAccuracy,
    gradientCheckpointing: settings.gradientCheckpointing,
    ...(options.runtime ? { session: options.runtime } : {}),
  });
  if (isFull) readWeights(checkpoint, step.parameters);
  else if (start) await start.readInto(step.parameters);
  else initialize(step.parameters, settings.seed);
  if (dora && !start?.dora) await startMagnitudes(step);
  // As in TRL, the reference is the initial adapter.
  if (start && settings.method === "dpo") await step.freezeReference();
  const steps = totalSteps(settings, plan.stepsPerEpoch);
  const schedule = scheduleOf(settings, steps);
  const transposed = transposedPaths(config);
  const facts: AdapterFacts | null = isFull
    ? null
    : {
        shape,
        modules,
        targetModules: start ? shortNames(config, modules) : peftTargetModules(config, settings.targetModules, modules),
        dropout: settings.loraDropout,
        dora,
        baseModelName: checkpoint.names[0],
        fanInFanOut: modules.some(({ path }) => transposed.has(path)),
      };
  const inputs = maskInputs(settings, step, modules, config.head.linear.path);
  return {
    trainable: decoderTrainable({ stepper: step, objective, inputs }),
    step,
    base,
    facts,
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
    inputs,
    async [Symbol.asyncDispose]() {
      step[Symbol.dispose]();
      await norms[Symbol.asyncDispose]();
      await base.close();
    },
  };
}

/** The number of chunks of the head at which the logits of one take about `bytes`. */
function headChunks(batch: TokenBatch, vocabSize: number, bytes: number): number {
  const logits = 4 * labelledPlaces(batch).places.length * vocabSize;
  return Math.max(1, Math.min(64, Math.ceil(logits / bytes)));
}

function maskInputs(
  { loraDropout: dropout, seed }: TrainSettings,
  step: TrainStep,
  modules: readonly LoraModule[],
  head: string,
): TrainSession["inputs"] {
  if (dropout === 0) return undefined;
  const given = new Set(step.graphs.training.inputs.map(({ name }) => name));
  const masks = modules.flatMap(({ path, inFeatures }): MaskedModule[] => {
    const name = `dropout.${path}`;
    return given.has(name) ? [{ name, width: inFeatures, rows: path === head ? "labels" : "tokens" }] : [];
  });
  return (batch, at, run) => {
    const labels = labelledPlaces(batch).places.length;
    return dropoutMasks(masks, dropout, { tokens: batch.rows * batch.length, labels }, { seed, step: at, run });
  };
}

function nothingToTrainOn({ counts, files }: DataSet): string {
  if (files.every(({ split }) => split !== "train")) {
    const names = files.map(({ path, split }) => `${basename(path)} for ${split}`).join(", ");
    return `The data has no file for training, only ${names}: name the training file train, for example train.jsonl.`;
  }
  return `The data has no row with a label to train on: ${counts.records} rows were read, ${counts.dropped} have none.`;
}
