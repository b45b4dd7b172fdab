/** The adapters as the server lists them, read again and again while someone looks. */
import { signal } from "@preact/signals";
import type { AdapterInfo } from "../client/types.js";
import { client, noteFailure, noteListed } from "../session.js";

export const adapters = signal<readonly AdapterInfo[] | null>(null);
/** Why the list is not fresh; null if it is. */
export const listFault = signal<string | null>(null);

const shortestMs = 2_000;
/** A list of thousands takes longer to send and to read: then it is read less often, so that it takes a small share of the time. */
const pausePerMs = 25;

export async function refresh(): Promise<void> {
  try {
    adapters.value = await client.adapters();
    listFault.value = null;
    noteListed(adapters.value.map(({ name }) => name));
  } catch (error) {
    listFault.value = noteFailure(error);
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
