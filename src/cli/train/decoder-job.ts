/** A run that trains a decoder. */

import { openCheckpoint } from "../../model/checkpoint/open.js";
import type { Checkpoint } from "../../model/types.js";
import type { TokenBatch } from "../../train/data/batch.js";
import { type Estimate, measure } from "../../train/estimate.js";
import type { RunFolder } from "../../train/files/run-folder.js";
import { openServed, type Served } from "../../train/served.js";
import { compareServed } from "../../train/served-comparison.js";
import type { Terminal } from "../terminal.js";
import { memoryForRun } from "./checks.js";
import { openJob, type TrainJob } from "./job.js";
import type { TrainFlags } from "./options.js";
import { formatHeader, formatLengths, formatRows } from "./report.js";
import type { Job, JobPlan } from "./run-job.js";
import { examplePrompts, formatAnswers, mostAnswerTokens, pairSamples, type Sample, takeAnswers } from "./samples.js";

/** `folder`: of the model. Throws what `openJob` throws. */
export async function openDecoderJob(
  folder: string,
  flags: TrainFlags,
  terminal: Terminal,
  resumed: RunFolder | null,
): Promise<Job<TokenBatch>> {
  const job = await openJob(folder, flags, terminal, resumed);
  const { session, settings, model, data, check, record, isExtended } = job;
  const isModel = settings.method === "full"; // the result no longer contains the base model's weights
  const sampling = (at: AbortSignal) => ({
    tokenizer: model.tokenizer,
    stopIds: model.checkpoint.config.stopIds,
    signal: at,
  });
  let [before, after]: [string[], string[]] = [[], []];
  return {
    ...{ flags, settings, session, record, isExtended },
    warnings: data.warnings,
    measure: (at, progress) => planOf(job, at, progress),
    comparison: (screen, at) =>
      compareServed({
        ...{ session, settings, rows: check },
        serve: (result) => serveResult(job, result),
        async onServed(served) {
          screen.progress("answering samples", 0, 0);
          after = await takeAnswers(served, check, sampling(at));
          if (!isModel) before = await takeAnswers(served, check, sampling(at), false);
        },
      }),
    async takeSamples(draft, step, screen, at) {
      await using served = await serveResult(job, draft);
      const answers = await takeAnswers(served, check, sampling(at));
      screen.print(formatAnswers(step, pairSamples(check, model.tokenizer, { before: [], after: answers })));
    },
    examples: () => examplePrompts(check, model.tokenizer),
    async samples(at): Promise<readonly Sample[]> {
      if (isModel) {
        await using base = await serve(job, model.checkpoint, null);
        before = await takeAnswers(base, check, sampling(at));
      }
      return pairSamples(check, model.tokenizer, { before, after });
    },
    [Symbol.asyncDispose]: () => job[Symbol.asyncDispose](),
  };
}

/** Estimates the whole run. --max-time limits the training, not what follows it. */
async function planOf(job: TrainJob, signal: AbortSignal, progress: Parameters<typeof measure>[3]): Promise<JobPlan> {
  const { session, settings, flags, data, model, stepsDone } = job;
  const left = session.totalSteps - stepsDone;
  const samples = flags.sampleEvery === null ? 0 : Math.floor(left / flags.sampleEvery);
  const whole = await measure(session, { ...job, answerTokens: mostAnswerTokens, samples }, signal, progress);
  const estimate: Estimate = { ...whole, ms: Math.min(whole.ms, settings.maxTimeMs ?? whole.ms) };
  return {
    header: (out) => formatHeader({ ...job, estimate, memory: memoryForRun(), out }),
    data: `${formatRows(data.train, model.tokenizer)}\n\ntokens of a row\n${formatLengths(data.train)}`,
    json: {
      steps: session.totalSteps,
      trainable_parameters: session.trainableParameters,
      base_dtype: session.base.dtype,
      base_bytes: session.base.bytes,
      train_rows: data.train.length,
      validation_rows: data.valid.length,
      data: data.digest,
      estimated_bytes: estimate.bytes,
      estimated_seconds: (estimate.ms + estimate.endMs) / 1000,
    },
  };
}

/** Serves the result of a run: an adapter over its base model, or a whole model. */
async function serveResult(job: TrainJob, result: string): Promise<Served> {
  if (job.settings.method === "full") return serve(job, await openCheckpoint(result), null);
  return serve(job, job.checkpoint, result);
}

function serve(
  { flags, threads, settings }: TrainJob,
  checkpoint: Checkpoint,
  adapter: string | null,
): Promise<Served> {
  return openServed({
    checkpoint,
    dtype: settings.dtype,
    threads,
    maxContext: settings.maxLength,
    maxBatch: 4,
    adapter,
    ...(flags.cacheDir === null ? {} : { cacheDirectory: flags.cacheDir }),
  });
}
