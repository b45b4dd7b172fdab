/** How the adapters of this server were trained, as their cards say. */
import { signal } from "@preact/signals";
import { readTraining, type TrainingRecord } from "../adapters/training-record.js";
import type { AdapterInfo } from "../client/types.js";
import { AnswerOrder } from "../parts/answer-order.js";
import { client, noteFailure } from "../session.js";

export interface TrainedRun {
  readonly adapter: AdapterInfo;
  readonly record: TrainingRecord | null;
  /** SVG. */
  readonly chart: string | null;
}

/** Cards are read of this many adapters, the newest first. */
const mostCards = 40;

/** null until they are read. */
export const trainedRuns = signal<readonly TrainedRun[] | null>(null);

const loads = new AnswerOrder();

export async function loadRuns(): Promise<void> {
  const counts = loads.ask();
  try {
    const adapters = [...(await client.adapters())].sort((a, b) => b.created - a.created).slice(0, mostCards);
    const runs = await Promise.all(adapters.map((adapter) => runOf(adapter).catch(() => null)));
    if (counts()) trainedRuns.value = runs.filter((run) => run !== null);
  } catch (error) {
    noteFailure(error);
  }
}

/** null for an adapter that says nothing of its training. */
async function runOf(adapter: AdapterInfo): Promise<TrainedRun | null> {
  const { training, chart } = await client.card(adapter.name);
  const record = readTraining(training);
  return record === null && chart === null ? null : { adapter, record, chart };
}
