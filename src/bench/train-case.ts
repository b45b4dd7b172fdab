/** One training run of a benchmark, in this process: the trainer's loop over random rows without padding, with every token labelled. */

import type { BaseDtype } from "../engine/start.js";
import { openCheckpoint } from "../model/checkpoint/open.js";
import type { DataSet, Item } from "../train/data/dataset.js";
import { countLabels } from "../train/data/shorten.js";
import { peakBytes } from "../train/estimate.js";
import { Draws, purposes } from "../train/random.js";
import { openSession } from "../train/session.js";
import { type TrainSettings, trainDefaults } from "../train/settings.js";
import { initialState, train } from "../train/trainer.js";

/** Plain data, since it is sent to another process. */
export interface TrainCase {
  /** A folder in Hugging Face layout. */
  readonly model: string;
  /** The form of the frozen weights. */
  readonly dtype: BaseDtype;
  readonly rows: number;
  readonly length: number;
  readonly gradientCheckpointing: boolean;
  readonly threads: number;
  readonly cacheDirectory: string;
  readonly warmups: number;
  readonly samples: number;
  /** Path prefix of ONNX Runtime's profile of all steps. */
  readonly profile: string | null;
}

export interface TrainMeasured {
  /** Durations of whole steps: feeds, forward, backward, clipping, AdamW. */
  readonly stepMs: readonly number[];
  /** Losses of every step, including warm-ups. */
  readonly losses: readonly number[];
  /** The peak memory of the process. */
  readonly peakBytes: number;
  /** The same after one step of two tokens: weights, their prepacked copies and the runtime, without activations. */
  readonly restBytes: number;
  readonly labels: number;
  readonly trainableParameters: number;
}

export const benchRank = 16;

/** Runs the case. Throws what opening a session throws. */
export async function runTrainCase(what: TrainCase): Promise<TrainMeasured> {
  const { dtype, rows, length, gradientCheckpointing, threads, cacheDirectory, warmups, samples, profile } = what;
  const checkpoint = await openCheckpoint(what.model);
  const steps = warmups + samples;
  const data = randomRows(checkpoint.config.vocabSize, rows, length);
  const settings: TrainSettings = {
    ...trainDefaults,
    learningRate: 2e-4,
    dtype,
    loraR: benchRank,
    batchSize: rows,
    gradientAccumulationSteps: 1,
    maxLength: length,
    maxSteps: steps,
    gradientCheckpointing,
  };
  await using session = await openSession({
    checkpoint,
    settings,
    data,
    threads,
    initFrom: null,
    cacheDirectory,
    ...(profile === null ? {} : { runtime: { profile } }),
  });
  await session.step.run({ rows: 1, length: 2, ids: new Int32Array(2), labels: new Int32Array(2) });
  const restBytes = peakBytes();
  const stepMs: number[] = [];
  const losses: number[] = [];
  const { trainable, optimizer, schedule, plan } = session;
  await train(
    {
      trainable,
      optimizer,
      rate: schedule,
      batches: (step) => plan.step(step),
      validation: [],
      steps,
      validateEvery: steps,
      patience: null,
      maxTimeMs: null,
      signal: new AbortController().signal,
      events: {
        step({ ms, loss }) {
          stepMs.push(ms);
          losses.push(loss);
        },
        validated() {},
        async checkpoint() {},
      },
    },
    initialState(),
  );
  return {
    stepMs: stepMs.slice(warmups),
    losses,
    peakBytes: peakBytes(),
    restBytes,
    labels: data.train.reduce((sum, [row]) => sum + countLabels(row), 0),
    trainableParameters: session.trainableParameters,
  };
}

/** The rows of one step, each of full length; all tokens but the first are labelled. */
function randomRows(vocabSize: number, rows: number, length: number): DataSet {
  const train = Array.from({ length: rows }, (_, row): Item => {
    const draws = new Draws(1, purposes.shuffle, row);
    const ids = Int32Array.from({ length }, () => draws.below(vocabSize));
    const trained = new Uint8Array(length).fill(1, 1);
    return [{ ids, trained, promptLength: 1, kind: "text", place: { file: "random", line: row + 1 } }];
  });
  const counts = { records: rows, shortened: 0, dropped: 0, kinds: { text: rows } };
  return { train, valid: [], test: [], counts, labels: [], files: [], digest: "random", warnings: [] };
}
