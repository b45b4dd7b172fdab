/** The adapters as the server lists them, read again and again while someone looks. */
import { signal } from "@preact/signals";
import type { AdapterInfo } from "../client/types.js";
import { AnswerOrder } from "../parts/answer-order.js";
import { client, noteFailure, noteListed } from "../session.js";

export const adapters = signal<readonly AdapterInfo[] | null>(null);
/** Why the list is not fresh; null if it is. */
export const listFault = signal<string | null>(null);

const shortestMs = 2_000;
/** A list of thousands takes longer to send and to read: then it is read less often, so that it takes a small share of the time. */
const pausePerMs = 25;

const lists = new AnswerOrder();

/** A list that was asked for before a deletion does not bring back what the list after it has lost. */
export async function refresh(): Promise<void> {
  const counts = lists.ask();
  try {
    const listed = await client.adapters();
    if (!counts()) return;
    adapters.value = listed;
    listFault.value = null;
    noteListed(listed.map(({ name }) => name));
  } catch (error) {
    const fault = noteFailure(error);
    if (counts()) listFault.value = fault;
  }
}

/** Reads the list until the function that it returns is called. */
export function watchAdapters(): () => void {
  let timer = 0;
  let isWatching = true;
  const turn = async (): Promise<void> => {
    const startedAt = performance.now();
    if (!document.hidden) await refresh();
    const tookMs = performance.now() - startedAt;
    if (isWatching) timer = window.setTimeout(turn, Math.max(shortestMs, pausePerMs * tookMs));
  };
  void turn();
  return () => {
    isWatching = false;
    clearTimeout(timer);
  };
}
