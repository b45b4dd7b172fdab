/** A job's run over a decoder, with as many rows at once as memory allows. */

import type { SampleAnswer, TrainingRun } from "../../jobs/types.js";
import { openCheckpoint } from "../../model/checkpoint/open.js";
import type { CardFacts } from "../../train/card/facts.js";
import type { TokenBatch } from "../../train/data/batch.js";
import { peakBytes } from "../../train/estimate.js";
import type { RunFolder } from "../../train/files/run-folder.js";
import { defaultRate } from "../../train/optimizer/default-rate.js";
import type { RunOptions } from "../../train/run.js";
import { openServed, type Served } from "../../train/served.js";
import { compareServed } from "../../train/served-comparison.js";
import { memoryForRun } from "../train/checks.js";
import { openJob, type TrainJob } from "../train/job.js";
import { examplePrompts, pairSamples, short, takeAnswers } from "../train/samples.js";
import type { TrainingBase } from "./messages.js";
import {
  firstThatFits,
  flagsFrom,
  type OpenedRun,
  type RunRequest,
  samplingInterval,
  sharedOptions,
  silentTerminal,
} from "./opened-run.js";
import { decoderTexts, isShortExample, readRowAt } from "./shown-rows.js";

/** The weights of an engine, and what it packs of them. */
const servedCopies = 2;

export async function openDecoderRun({
  base,
  run,
  begun,
  folder,
  report,
  signal,
}: RunRequest): Promise<OpenedRun<TokenBatch>> {
  const job = await openFitting(base, run, begun, folder);
  const { flags, settings, session, record, data } = job;
  const serve = (result: string): Promise<Served> =>
    openServed({
      checkpoint: job.checkpoint,
      dtype: settings.dtype,
      threads: job.threads,
      maxContext: settings.maxLength,
      maxBatch: 4,
      adapter: result,
      ...(base.cacheDir === null ? {} : { cacheDirectory: base.cacheDir }),
    });
  const show = async (step: number | null, served: Served): Promise<void> =>
    report({ type: "samples", step, samples: await samplesOf(job, served, signal) });
  const comparison = compareServed({
    ...{ session, settings, rows: job.check },
    serve,
    onServed: (served) => show(null, served),
  });
  return {
    ...{ flags, settings, session, record, warnings: data.warnings, events: {} },
    textsOf: decoderTexts,
    examples: () => examplesOf(job),
    own: { comparison, ...samplingOf(job, serve, show, signal) },
    [Symbol.asyncDispose]: () => job[Symbol.asyncDispose](),
  };
}

/**
 * Sample answers along the way, with every validation or every few of them. They serve the weights beside the session that trains them, so
 * they are left out where memory has no room for both.
 */
function samplingOf(
  { session }: TrainJob,
  serve: (draft: string) => Promise<Served>,
  show: (step: number, served: Served) => Promise<void>,
  signal: AbortSignal,
): Pick<RunOptions<TokenBatch>, "sampling"> {
  if (peakBytes() + servedCopies * session.base.bytes > memoryForRun()) return {};
  let isOff = false;
  return {
    sampling: {
      every: samplingInterval(session),
      async take(draft, step) {
        if (isOff) return;
        try {
          await using served = await serve(draft);
          await show(step, served);
        } catch (error) {
          if (signal.aborted) throw error;
          isOff = true; // the run is worth more than what can be seen of it
          process.stderr.write(`lorikeet: a fine-tuning job answers no samples before its end: ${error}\n`);
        }
      },
    },
  };
}

/** What the base and the adapter answer to the same prompts. */
async function samplesOf({ check, model }: TrainJob, served: Served, signal: AbortSignal): Promise<SampleAnswer[]> {
  const { tokenizer, checkpoint } = model;
  const options = { tokenizer, stopIds: checkpoint.config.stopIds, signal };
  const after = await takeAnswers(served, check, options);
  const before = await takeAnswers(served, check, options, false);
  return pairSamples(check, tokenizer, { before, after }).map((sample) => ({
    ...sample,
    prompt: short(sample.prompt),
  }));
}

/** Prompts of some rows, to try the adapter with. A prompt that a chat's template has wrapped gets the user's message as its title. */
async function examplesOf({ check, model }: TrainJob): Promise<CardFacts["examples"]> {
  const prompts = (await examplePrompts(check, model.tokenizer)).filter(isShortExample);
  const rows = await Promise.all(check.slice(0, prompts.length).map(({ place }) => readRowAt(place, decoderTexts)));
  return prompts.map((text) => {
    const title = rows.find((row) => row !== null && text !== row.input && text.includes(row.input))?.input;
    return { text, ...(title !== undefined && { title }) };
  });
}

/** Opens the run with as many rows at once as memory allows; one that was begun keeps its own. */
async function openFitting(
  base: TrainingBase,
  run: TrainingRun,
  begun: Readonly<Record<string, unknown>> | null,
  folder: RunFolder,
): Promise<TrainJob> {
  if (begun !== null) return openJob(base.folder, flagsFrom(begun), silentTerminal, folder);
  const { config } = await openCheckpoint(base.folder);
  const rate = run.hyperparameters.learningRateMultiplier * defaultRate(run.method === "dpo" ? "dpo" : "sft", config);
  return await firstThatFits(run.hyperparameters.batchSize, (choice) =>
    openJob(base.folder, flagsFrom({ ...optionsOf(base, run, rate), ...choice }), silentTerminal),
  );
}

/** Options of `train`, as a config file has them. */
function optionsOf(base: TrainingBase, run: TrainingRun, rate: number): Readonly<Record<string, unknown>> {
  const { beta } = run.hyperparameters;
  return {
    ...sharedOptions(base, run),
    dtype: base.dtype,
    ...(base.chatTemplate === null ? {} : { "chat-template": base.chatTemplate }),
    ...(base.cacheDir === null ? {} : { "cache-dir": base.cacheDir }),
    method: run.method === "dpo" ? "dpo" : "sft",
    "learning-rate": rate,
    ...(beta === null ? {} : { beta }),
    ...(run.method === "supervised" ? { "token-accuracy": true } : {}),
  };
}
