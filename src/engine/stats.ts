/** What the engine says about itself: who runs, who waits, what is resident. */
import type { Admission } from "./admission.js";
import type { AdapterBank } from "./bank.js";
import type { Sequence } from "./sequence.js";
import type { Slots } from "./slots.js";
import type { EngineStats } from "./types.js";

export function statsOf(slots: Slots<Sequence>, admission: Admission, bank: AdapterBank): EngineStats {
  const running = [...slots.held()].flatMap(([, sequence]) => (sequence.phase === "running" ? [sequence] : []));
  const waiting = [...admission.waiting, ...admission.loading];
  const prefilling = running.filter(({ computed, promptTokens }) => computed < promptTokens).length;
  return {
    running: running.length,
    waiting: waiting.length,
    slots: { decoding: running.length - prefilling, prefilling, idle: slots.free },
    runningAdapters: adaptersOf(running),
    waitingAdapters: adaptersOf(waiting),
    activeAdapterBytes: bank.bytes,
    activeAdapters: bank.digests,
  };
}

function adaptersOf(sequences: readonly Sequence[]): string[] {
  return [...new Set(sequences.flatMap(({ request: { adapter } }) => (adapter === null ? [] : [adapter])))];
}
