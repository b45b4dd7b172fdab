/** What every run over a decoder opens: target modules, frozen weights, and the training step with its first values. */

import type { Progress } from "../base/log.js";
import { layerModules, storedModules, transposedPaths } from "../model/modules.js";
import type { Checkpoint } from "../model/types.js";
import type { SessionOptions as RuntimeOptions } from "../runtime/session.js";
import { WeightNorms } from "../weights/norms.js";
import { type BaseWeights, openBase } from "./base-weights.js";
import { labelledPlaces, type TokenBatch } from "./data/batch.js";
import { startMagnitudes } from "./dora.js";
import { dropoutMasks, type MaskedModule } from "./dropout.js";
import { type AdapterFacts, type OpenedAdapter, openAdapter } from "./files/adapter-files.js";
import { readWeights } from "./files/product.js";
import { chooseModules, initialize, type LoraModule, type LoraShape, peftTargetModules, shortNames } from "./lora.js";
import { narrowColumns } from "./narrow.js";
import { shapeOf, type TrainSettings } from "./settings.js";
import { type RunOptions, type StepOptions, TrainStep } from "./step.js";

export interface DecoderOptions {
  readonly checkpoint: Checkpoint;
  readonly settings: TrainSettings;
  readonly threads: number;
  /** A PEFT folder to continue from, which sets target modules, ranks, scales and magnitudes. */
  readonly initFrom: string | null;
  readonly cacheDirectory?: string;
  readonly progress?: Progress;
  /** Further options of the step's sessions, for benchmarks. */
  readonly runtime?: Partial<RuntimeOptions>;
}

export interface DecoderTargets {
  readonly shape: LoraShape;
  readonly dora: boolean;
  /** Empty if every weight is trained. */
  readonly modules: readonly LoraModule[];
  readonly start: OpenedAdapter | null;
  /** Minimum tokens of a run. */
  readonly minTokens: number;
}

/** Throws `invalid_value` for settings that name no module, and what opening the adapter throws. */
export async function openTargets({ checkpoint, settings, initFrom }: DecoderOptions): Promise<DecoderTargets> {
  const { config } = checkpoint;
  const start = initFrom === null ? null : await openAdapter(initFrom, config, storedModules(checkpoint));
  const shape = start?.shape ?? shapeOf(settings);
  const isFull = settings.method === "full";
  const modules = start?.modules ?? (isFull ? [] : chooseModules(config, settings.targetModules, shape));
  const minTokens = narrowColumns(
    layerModules(config),
    modules.map(({ rank }) => rank),
  );
  return { shape, modules, start, minTokens, dora: settings.useDora || (start?.dora ?? false) };
}

export interface DecoderStep extends AsyncDisposable {
  readonly step: TrainStep;
  readonly base: BaseWeights;
  /** Of the adapter; null if every weight is trained. */
  readonly facts: AdapterFacts | null;
  /** Dropout masks of a run; undefined without dropout. */
  readonly inputs: ((batch: TokenBatch, step: number, run: number) => RunOptions["inputs"]) | undefined;
}

type StepParts = Pick<StepOptions, "minLabels" | "chunks"> &
  Partial<Pick<StepOptions, "loss" | "countsHits" | "score">>;

/** `labels`: of a classification head, if the run trains one. The caller fills its parameter. */
export async function openDecoderStep(
  options: DecoderOptions,
  { shape, dora, modules, start, minTokens }: DecoderTargets,
  parts: StepParts,
  labels: readonly string[] | null = null,
): Promise<DecoderStep> {
  const { checkpoint, settings, threads } = options;
  const { config } = checkpoint;
  const isFull = settings.method === "full";
  const base = await openBase({
    ...{ checkpoint, threads, dtype: settings.dtype },
    ...(options.cacheDirectory === undefined ? {} : { cacheDirectory: options.cacheDirectory }),
    ...(options.progress === undefined ? {} : { progress: options.progress }),
  });
  const norms = new WeightNorms(checkpoint, { threads });
  const step = TrainStep.create({
    ...{ config, threads, dora, norms },
    weights: base.weights,
    mode: isFull ? "full" : "lora",
    modules: new Map(modules.map(({ path, rank, scale }) => [path, { rank, scale }])),
    dropout: settings.loraDropout,
    maxLength: Math.max(settings.maxLength, minTokens),
    gradientCheckpointing: settings.gradientCheckpointing,
    ...parts,
    ...(options.runtime ? { session: options.runtime } : {}),
  });
  if (isFull) readWeights(checkpoint, step.parameters);
  else if (start) await start.readInto(step.parameters);
  else initialize(step.parameters, settings.seed);
  if (dora && !start?.dora) await startMagnitudes(step);
  const transposed = transposedPaths(config);
  const facts: AdapterFacts | null = isFull
    ? null
    : {
        ...{ shape, modules, dora, labels },
        targetModules: start ? shortNames(config, modules) : peftTargetModules(config, settings.targetModules, modules),
        dropout: settings.loraDropout,
        baseModelName: checkpoint.names[0],
        fanInFanOut: modules.some(({ path }) => transposed.has(path)),
      };
  return {
    ...{ step, base, facts },
    inputs: maskInputs(settings, step, modules, config.head.path),
    async [Symbol.asyncDispose]() {
      step[Symbol.dispose]();
      await norms[Symbol.asyncDispose]();
      await base.close();
    },
  };
}

function maskInputs(
  { loraDropout: dropout, seed }: TrainSettings,
  step: TrainStep,
  modules: readonly LoraModule[],
  head: string,
): DecoderStep["inputs"] {
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
