/** The engine's state in numbers: what runs, what waits, what is resident. */

import type { Bank } from "./adapters/pool.js";
import type { Admission } from "./admission.js";
import type { Sequence } from "./sequence.js";
import type { Slots } from "./slots.js";
import type { EngineStats } from "./types.js";

export function statsOf(slots: Slots<Sequence>, admission: Admission, bank: Bank, now: number): EngineStats {
  const running = [...slots.held()].flatMap(([, sequence]) => (sequence.phase === "running" ? [sequence] : []));
  const waiting = [...admission.waiting()];
  const queues = [...admission.queues()];
  const prefilling = running.filter(({ computed, readTokens }) => computed < readTokens).length;
  return {
    running: running.length,
    waiting: waiting.length,
    queues: queues.map((queue) => ({ adapter: queue.adapter, waiting: queue.waiting })),
    oldestWaitMs: queues.length === 0 ? 0 : now - Math.min(...queues.map(({ since }) => since)),
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
