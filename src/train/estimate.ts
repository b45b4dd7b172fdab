/** What a run will take in memory and time, from real runs of its own smallest and largest batches. Changes no parameter. */
import type { Progress } from "../base/log.js";
import type { TokenBatch } from "./data/batch.js";
import type { TokenRow } from "./data/encode.js";
import { processBytes } from "./memory.js";
import { addDecayedWeights, chain, clipByGlobalNorm, globalNorm, scaleByAdam } from "./optimizer/optimizer.js";
import type { TrainSession } from "./session.js";

export interface Estimate {
  /** Peak of the whole process, in bytes. */
  readonly bytes: number;
  /** From the first step to the last validation. */
  readonly ms: number;
  /** From there to the end: the result compared as served, and answers. */
  readonly endMs: number;
}

export interface Work {
  readonly stepsDone: number;
  /** Rows by which training and serving are compared. */
  readonly check: readonly TokenRow[];
  /** That the served result gives at most. */
  readonly answerTokens: number;
  /** How often the run serves its weights before its end. */
  readonly samples?: number;
}

/** Runs each batch until its time is known, the largest first, and adds up the rest of the run from what they took. */
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
  const widest = validation.at(-1); // they are in the order of their lengths
  if (widest) progress?.("measuring the validation", 0, 0);
  const forward = widest
    ? await timeOf(async () => void (await objective.evaluate(step, widest, 1, signal))) // in a session of its own
    : 0;
  progress?.("measuring the smallest batch", 0, 0);
  const small = await timeRun(session, plan.smallest(), signal);
  const [largeTokens, smallTokens] = [tokensOf(plan.largest()), tokensOf(plan.smallest())];
  const spread = largeTokens - smallTokens;
  // A line through both: what a run costs at all, and what each token costs.
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

/** Of a run over a frozen base: forwards, and about twice that back. */
const forwardShare = 1 / 3;

/** The compared rows by the training graph and by the engine, its start (twice where the base serves apart), and answers, which read all weights for a token. */
function servingMs({ base, facts }: TrainSession, { check, answerTokens }: Work, eachForward: number): number {
  const tokens = check.reduce((sum, { ids }) => sum + ids.length, 0);
  const starts = facts === null ? 2 : 1;
  return 2 * tokens * eachForward + starts * engineMs({ base }) + (answerTokens * base.bytes) / readBytesAMs;
}

/** An engine's start. */
const engineMs = ({ base }: Pick<TrainSession, "base">): number => startMs + base.bytes / startBytesAMs;

/** Of a common machine: an engine's start, preparing its weights, and reading them. */
const startMs = 400;
const startBytesAMs = 200_000;
const readBytesAMs = 20_000_000;

/** Writing a checkpoint, parameters and AdamW's moments, and flushing it to a common disk. */
const checkpointMs = ({ step }: TrainSession): number => 100 + (3 * step.values.byteLength) / bytesAMs;
const bytesAMs = 150_000;

/** AdamW's moments, gradients that are added up, and a checkpoint's transposed copy: there when steps are taken, and not before. */
const bytesOfSteps = ({ step }: TrainSession): number => 4 * 4 * step.values.length;

/** The end of a run serves its adapter: weights as they are mapped, and as they are packed. */
const servingBytes = ({ base }: TrainSession): number => processBytes + 2 * base.bytes;

/** The arithmetic of an optimizer's step, on a copy of as many numbers as tell. */
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

/** Milliseconds of some work: of its second time, or where that is short, the middle of several. The first one is slower. */
async function timeOf(work: () => Promise<void>): Promise<number> {
  await work();
  const times: number[] = [];
  for (let total = 0; times.length === 0 || (total < enoughMs && times.length < mostRuns); ) {
    const began = performance.now();
    await work();
    times.push(performance.now() - began);
    total += times.at(-1) ?? 0;
  }
  return times.sort((a, b) => a - b)[times.length >> 1] ?? 0;
}

const enoughMs = 500;
const mostRuns = 5;

const tokensOf = ({ rows, length }: TokenBatch): number => rows * length;

/** The most memory that this process has held so far. */
export const peakBytes = (): number => process.resourceUsage().maxRSS * 1024;
