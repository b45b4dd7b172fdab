/** What the cards of a job's adapters say about where they come from. Every key may read them; the rows belong to the key of the job. */

import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { TrainingRun } from "../../jobs/types.js";
import { modelCard } from "../../train/card/card.js";
import type { CardFacts } from "../../train/card/facts.js";
import type { Fields } from "../../train/data/rows.js";
import { Checkpoints } from "../../train/files/checkpoints.js";
import { type RunRecord, writeRecord } from "../../train/files/record.js";
import { readShownRows, type ShownRow } from "./shown-rows.js";

/** The rows that a card may show. */
export async function readShown(
  { data, origin }: TrainingRun,
  textsOf: (fields: Fields) => ShownRow | null,
): Promise<ShownRow[]> {
  return origin.showsRows ? await readShownRows(join(data, "train.jsonl"), textsOf) : [];
}

export function originOf(
  { origin, hyperparameters, seed }: TrainingRun,
  rows: readonly ShownRow[],
): Pick<RunRecord, "origin" | "job"> {
  const { job: id, createdAt, files, showsRows } = origin;
  const { epochs, batchSize, learningRateMultiplier, beta } = hyperparameters;
  return {
    origin: {
      data: `Rows that the owner of the fine-tuning job ${id} uploaded.`,
      ...{ license: null, recipe: null, commands: [], rows },
      ...(showsRows ? {} : { withheld: "Its rows are seen only with the API key of the job." }),
    },
    job: {
      ...{ id, created_at: new Date(createdAt).toISOString(), files },
      hyperparameters: {
        ...{ n_epochs: epochs, batch_size: batchSize, learning_rate_multiplier: learningRateMultiplier },
        ...(beta === null ? {} : { beta }),
        seed,
      },
    },
  };
}

/** What a command that trains it again calls the data. A job reads any file as JSON lines. */
export function dataName({ origin: { files } }: TrainingRun): string {
  const [file, ...others] = files;
  if (others.length > 0) return "data";
  return file?.name.endsWith(".jsonl") ? file.name : "train.jsonl";
}

/** For the adapters of the steps that a run has kept. */
export async function writeCheckpointCards(
  { output, name }: TrainingRun,
  record: RunRecord,
  card: CardFacts,
): Promise<void> {
  const folder = join(output, "checkpoints");
  for (const step of await Checkpoints.stepsIn(folder)) {
    const own = { ...record, ...(record.job && { job: { ...record.job, checkpoint: step } }) };
    const place = Checkpoints.pathIn(folder, step);
    await writeRecord(place, own);
    const facts = { ...card, outputDir: join("adapters", `${name}-step-${step}`) };
    await writeFile(join(place, "README.md"), modelCard(facts, own));
  }
}
