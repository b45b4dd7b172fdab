/** The jobs of this key, and the curves of those that are looked at. Read again and again while someone looks. */
import { signal } from "@preact/signals";
import type { Job, JobEvent } from "../client/fine-tuning.js";
import { AnswerOrder } from "../parts/answer-order.js";
import { client, noteFailure } from "../session.js";

const pauseMs = 2_000;
const ended: ReadonlySet<Job["status"]> = new Set(["succeeded", "failed", "cancelled"]);

export const jobs = signal<readonly Job[] | null>(null);
export const jobsFault = signal<string | null>(null);
/** Of the jobs whose curves are shown, and of those that ended without a product, by their ids. */
export const events = signal<ReadonlyMap<string, readonly JobEvent[]>>(new Map());

export const isEnded = ({ status }: Job): boolean => ended.has(status);

/** Whether a job has losses to show, or may come to have some. Of one that failed or was cancelled, its events tell. */
export const hasCurves = (job: Job): boolean =>
  !isEnded(job) ||
  job.trained_tokens !== null ||
  (events.value.get(job.id) ?? []).some(({ data }) => typeof data.step === "number");

/** Jobs without a product whose events are read, to know whether they have losses. */
const mostUnfinished = 8;

function unfinished(): readonly string[] {
  const found = (jobs.value ?? []).filter((job) => isEnded(job) && job.trained_tokens === null);
  return found.slice(0, mostUnfinished).map(({ id }) => id);
}

const refreshes = new AnswerOrder();
/** The jobs whose events are read because their curves are shown. */
let watched: readonly string[] = [];

export async function refreshJobs(): Promise<void> {
  const counts = refreshes.ask();
  try {
    const listed = await client.fineTuning.jobs();
    if (!counts()) return;
    jobs.value = listed;
    const wanted = [...new Set([...watched, ...unfinished()])];
    const read = await Promise.all(wanted.map(async (id) => [id, await eventsOf(id)] as const));
    if (!counts()) return;
    events.value = new Map(read);
    jobsFault.value = null;
  } catch (error) {
    const fault = noteFailure(error);
    if (counts()) jobsFault.value = fault;
  }
}

/** Events of a job that has ended do not change. */
async function eventsOf(id: string): Promise<readonly JobEvent[]> {
  const known = events.value.get(id);
  const job = jobs.value?.find((each) => each.id === id);
  if (known && job && isEnded(job) && known.some(({ created_at: at }) => at >= (job.finished_at ?? 0))) return known;
  return client.fineTuning.events(id, known);
}

/** Reads until the function that it returns is called. */
export function watchJobs(shown: readonly string[]): () => void {
  watched = shown;
  let timer = 0;
  let isWatching = true;
  const turn = async (): Promise<void> => {
    if (!document.hidden) await refreshJobs();
    if (isWatching) timer = window.setTimeout(turn, pauseMs);
  };
  void turn();
  return () => {
    isWatching = false;
    clearTimeout(timer);
  };
}
