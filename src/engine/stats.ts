/** The engine's state in numbers: what runs, what waits, what is resident. */

import type { Admission } from "./admission.js";
import type { Sequence } from "./sequence.js";
import type { Slots } from "./slots.js";
import type { ActiveSet, AdapterHold } from "./steps.js";
import type { EngineStats } from "./types.js";

export function statsOf<Held, Hold extends AdapterHold>(
  slots: Slots<Sequence<Held, Hold>>,
  admission: Admission<Held, Hold>,
  bank: Pick<ActiveSet<Held, Hold>, "bytes" | "digests">,
  now: number,
): EngineStats {
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

function adaptersOf(sequences: readonly Pick<Sequence, "request">[]): string[] {
  return [...new Set(sequences.flatMap(({ request: { adapter } }) => (adapter === null ? [] : [adapter])))];
}
