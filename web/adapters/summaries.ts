/** What adapters do, in a sentence of their authors, for those that are looked at. */
import { signal } from "@preact/signals";
import { isNoAnswer } from "../client/errors.js";
import type { AdapterInfo } from "../client/types.js";
import { summaryOf } from "../parts/summary.js";
import { client } from "../session.js";

type Version = Pick<AdapterInfo, "name" | "digest">;

/** By the digest of an adapter's version; empty where it says nothing. */
export const adapterSummaries = signal<ReadonlyMap<string, string>>(new Map());

const asked = new Set<string>();
/** Cards that are read at once. */
const mostReads = 4;
let waiting: Version[] = [];
let reads = 0;

/** Reads the cards of adapters, once each. What an earlier call asked for, and is not begun yet, is no longer looked at. */
export function wantSummaries(adapters: readonly Version[]): void {
  waiting = adapters.filter(({ digest }) => !asked.has(digest));
  while (reads < mostReads && waiting.length > 0) void readWaiting();
}

async function readWaiting(): Promise<void> {
  reads++;
  for (let next = waiting.shift(); next; next = waiting.shift()) {
    const { name, digest } = next;
    if (asked.has(digest)) continue;
    asked.add(digest);
    try {
      note(digest, summaryOf((await client.card(name)).readme) ?? "");
    } catch (error) {
      // A card that cannot be read says nothing: the adapter's own view says why. One that did not come is asked for again.
      if (isNoAnswer(error)) asked.delete(digest);
      else note(digest, "");
    }
  }
  reads--;
}

function note(digest: string, summary: string): void {
  adapterSummaries.value = new Map(adapterSummaries.value).set(digest, summary);
}
