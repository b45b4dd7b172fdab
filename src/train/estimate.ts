/** What a run will take in memory and time, from real runs of its own smallest and largest batches. Changes no parameter. */
import type { DecoderConfig } from "../model/types.js";
import type { TokenBatch } from "./batch.js";
import type { TrainSession } from "./session.js";

export interface Estimate {
  /** Peak of the whole process, in bytes. */
  readonly bytes: number;
  readonly ms: number;
}

/** Runs each batch twice, the largest first, and adds up the rest of the run from what they took. */
export async function measure(session: TrainSession, stepsDone: number, signal: AbortSignal): Promise<Estimate> {
  const { plan, validation } = session;
  const large = await timeRun(session, plan.largest(), signal);
  const [forward] = validation;
  if (forward) await session.objective.evaluate(session.step, forward, 1, signal); // validation has a session of its own
  const small = await timeRun(session, plan.smallest(), signal);
  const [largeTokens, smallTokens] = [tokensOf(plan.largest()), tokensOf(plan.smallest())];
  const spread = largeTokens - smallTokens;
  // A line through both: what a run costs at all, and what each token costs.
  const each = spread > 0 ? Math.max(0, (large - small) / spread) : large / largeTokens;
  const base = Math.max(0, large - each * largeTokens);
  const timeOf = (tokens: number): number => base + each * tokens;
  const sizes = plan.runSizes();
  const epochMs = sizes.reduce((sum, tokens) => sum + timeOf(tokens), 0);
  const stepMs = epochMs / plan.stepsPerEpoch;
  const validationMs = validation.reduce((sum, batch) => sum + timeOf(tokensOf(batch)), 0) * forwardShare;
  const steps = session.totalSteps - stepsDone;
  const validations = Math.ceil(steps / session.validateEvery) + 1;
  return { bytes: peakBytes(), ms: steps * stepMs + validations * validationMs };
}

/** A forward pass as a part of forward and backward. */
const forwardShare = 0.4;

async function timeRun(session: TrainSession, batch: TokenBatch, signal: AbortSignal): Promise<number> {
  const total = session.objective.count(batch);
  let ms = 0;
  for (let i = 0; i < 2; i++) {
    const began = performance.now();
    const feed = await session.objective.feed(session.step, batch, total, signal);
    const inputs = new Map([...(feed.inputs ?? []), ...(session.inputs?.(batch, 0, 0) ?? [])]);
    await session.step.run(batch, { ...feed, inputs, signal });
    ms = performance.now() - began;
  }
  return ms;
}

const tokensOf = ({ rows, length }: TokenBatch): number => rows * length;

/** The most memory that this process has held so far. */
export const peakBytes = (): number => process.resourceUsage().maxRSS * 1024;

export interface MemoryShape {
  readonly config: DecoderConfig;
  /** Of the frozen weights in the form that they are trained over, both ways. */
  readonly weightBytes: number;
  readonly trainable: number;
  readonly batch: TokenBatch;
  readonly gradientCheckpointing: boolean;
}

/**
 * Bytes that a run needs, counted before anything runs: frozen weights and their prepacked copy, what the way back reads of every
 * layer, the logits of one chunk, and the optimizer's four arrays. Coarse; meant to refuse what could never fit.
 */
export function countBytes({ config, weightBytes, trainable, batch, gradientCheckpointing }: MemoryShape): number {
  const { hiddenSize, intermediateSize, layerCount, headCount, kvHeadCount, headDim } = config;
  const { rows, length } = batch;
  const tokens = rows * length;
  const attention = 2 * (headCount + kvHeadCount) * headDim;
  const perLayer =
    tokens * (6 * hiddenSize + 4 * intermediateSize + attention) + 2 * rows * headCount * length * length;
  const kept = gradientCheckpointing ? perLayer + layerCount * tokens * hiddenSize : layerCount * perLayer;
  return processBytes + 2 * weightBytes + 4 * (kept + 5 * trainable) + 3 * chunkBytes;
}

const processBytes = 150 * 2 ** 20;
const chunkBytes = 64 * 2 ** 20;
