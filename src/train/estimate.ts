/** Estimates a run's memory and time by running its smallest and largest batches. Changes no parameters. */

import type { Progress } from "../base/log.js";
import { median } from "../base/median.js";
import type { TokenBatch } from "./data/batch.js";
import type { TokenRow } from "./data/encode.js";
import { processBytes } from "./memory.js";
import { addDecayedWeights, chain, clipByGlobalNorm, globalNorm, scaleByAdam } from "./optimizer/optimizer.js";
import type { TrainSession } from "./session.js";

export interface Estimate {
  /** Peak memory of the process. */
  readonly bytes: number;
  /** Time from the first step to the last validation. */
  readonly ms: number;
  /** Time for the rest: comparing with the served result, and sample answers. */
  readonly endMs: number;
}

export interface Work {
  readonly stepsDone: number;
  /** Rows for the comparison of training and serving. */
  readonly check: readonly TokenRow[];
  /** Maximum tokens of all sample answers. */
  readonly answerTokens: number;
  /** How often the run serves its weights before the end. */
  readonly samples?: number;
}

/** Times the batches, the largest first, and extrapolates to the whole run. */
export async function measure(
  session: TrainSession,
  work: Work,
  signal: AbortSignal,
  progress?: Progress,
): Promise<Estimate> {
  const { stepsDone, samples = 0 } = work;
  const { plan, validation, objective, step } = session;
  progress?.("measuring the largest batch", 0, 0);
  const large = await timeRun(session, plan.largest(), signal);
  const widest = validation.at(-1); // sorted by length
  if (widest) progress?.("measuring validation", 0, 0);
  const forward = widest
    ? await timeOf(async () => void (await objective.evaluate(step, widest, 1, signal))) // uses its own session
    : 0;
  progress?.("measuring the smallest batch", 0, 0);
  const small = await timeRun(session, plan.smallest(), signal);
  const [largeTokens, smallTokens] = [tokensOf(plan.largest()), tokensOf(plan.smallest())];
  const spread = largeTokens - smallTokens;
  // A line through both points: the fixed cost of a batch and the cost per token.
  const each = spread > 0 ? Math.max(0, (large - small) / spread) : large / largeTokens;
  const base = Math.max(0, large - each * largeTokens);
  const epochMs = plan.runSizes().reduce((sum, tokens) => sum + base + each * tokens, 0);
  const stepMs = epochMs / plan.stepsPerEpoch + optimizerMs(session);
  const steps = session.totalSteps - stepsDone;
  const share = widest ? validation.reduce((sum, batch) => sum + tokensOf(batch), 0) / tokensOf(widest) : 0;
  const validations = Math.ceil(steps / session.validateEvery) + (stepsDone === 0 ? 1 : 0);
  const sampleMs = engineMs(session) + (work.answerTokens * session.base.bytes) / readBytesAMs;
  const ms = samples * sampleMs + steps * stepMs + validations * (share * forward + checkpointMs(session));
  const eachForward = widest ? forward / tokensOf(widest) : forwardShare * (large / largeTokens);
  const written = session.product.rounds ? share * forward : 0;
  const training = peakBytes() + bytesOfSteps(session);
  const serving = servingBytes(session);
  return {
    bytes: samples > 0 ? training + serving - processBytes : Math.max(training, serving),
    ms,
    endMs: written + servingMs(session, work, eachForward),
  };
}

/** Share of the forward pass over a frozen base model; the backward pass takes about twice as long. */
const forwardShare = 1 / 3;

/** Time to compare rows in training graph and engine, to start the engine (twice if the base model is served separately), and to decode answers. */
function servingMs({ base, facts }: TrainSession, { check, answerTokens }: Work, eachForward: number): number {
  const tokens = check.reduce((sum, { ids }) => sum + ids.length, 0);
  const starts = facts === null ? 2 : 1;
  return 2 * tokens * eachForward + starts * engineMs({ base }) + (answerTokens * base.bytes) / readBytesAMs;
}

/** Startup time of an engine. */
const engineMs = ({ base }: Pick<TrainSession, "base">): number => startMs + base.bytes / startBytesAMs;

/** On a typical machine: starting an engine, preparing its weights, and reading them. */
const startMs = 400;
const startBytesAMs = 200_000;
const readBytesAMs = 20_000_000;

/** Time to write a checkpoint (parameters and AdamW's moments) to a typical disk. */
const checkpointMs = ({ step }: TrainSession): number => 100 + (3 * step.values.byteLength) / bytesAMs;
const bytesAMs = 150_000;

/** AdamW's moments, accumulated gradients and a checkpoint's transposed copy, which exist only during training. */
const bytesOfSteps = ({ step }: TrainSession): number => 4 * 4 * step.values.length;

/** Memory for serving the result: mapped and prepacked weights. */
const servingBytes = ({ base }: TrainSession): number => processBytes + 2 * base.bytes;

/** Time of an optimizer step, extrapolated from a sample of the parameters. */
function optimizerMs({ step }: TrainSession): number {
  const count = Math.min(step.values.length, 2 ** 18);
  const [values, gradients] = [new Float32Array(count), new Float32Array(count).fill(1)];
  const optimizer = chain(count, clipByGlobalNorm(1), scaleByAdam(), addDecayedWeights(0.01));
  let ms = 0;
  for (let i = 0; i < 3; i++) {
    const began = performance.now();
    globalNorm(gradients);
    optimizer.step(values, gradients, i);
    ms = performance.now() - began;
  }
  return (ms * step.values.length) / count;
}

function timeRun(session: TrainSession, batch: TokenBatch, signal: AbortSignal): Promise<number> {
  const total = session.objective.count(batch);
  return timeOf(async () => {
    const feed = await session.objective.feed(session.step, batch, total, signal);
    const inputs = new Map([...(feed.inputs ?? []), ...(session.inputs?.(batch, 0, 0) ?? [])]);
    await session.step.run(batch, { ...feed, inputs, signal });
  });
}

/** Time of some work in ms: of its second run, or the median of several if it is short. The first run is slower. */
async function timeOf(work: () => Promise<void>): Promise<number> {
  await work();
  const times: number[] = [];
  for (let total = 0; times.length === 0 || (total < enoughMs && times.length < mostRuns); ) {
    const began = performance.now();
    await work();
    const took = performance.now() - began;
    times.push(took);
    total += took;
  }
  return median(times);
}

const enoughMs = 500;
const mostRuns = 5;

const tokensOf = ({ rows, length }: TokenBatch): number => rows * length;

/** Peak memory of this process so far. */
export const peakBytes = (): number => process.resourceUsage().maxRSS * 1024;
