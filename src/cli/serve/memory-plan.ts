/** Divides a machine's memory among several bases, so that what all of them plan to use fits. Allocates nothing. */

import { LorikeetError } from "../../base/errors.js";
import { formatBytes } from "../options/units.js";

/** What a base needs of the host's memory. */
export interface BaseNeed {
  readonly weightBytes: number;
  /** The KV cache; null: a share of what is left. 0 for a base without one. */
  readonly kvBytes: number | null;
  /** Of adapters in the cache and in use; null: a share of the server's. */
  readonly cacheBytes: number | null;
  readonly activeBytes: number | null;
}

export interface BaseShare {
  readonly kvBytes: number;
  readonly cacheBytes: number;
  readonly activeBytes: number;
}

/** The server's options, which hold for all bases without their own. */
export interface MemoryTotals {
  /** null: half of what the weights leave. */
  readonly kvBytes: number | null;
  readonly cacheBytes: number;
  readonly activeBytes: number;
}

export interface MemoryPlan {
  readonly memoryBytes: number;
  readonly weightBytes: number;
  readonly shares: readonly BaseShare[];
}

/**
 * As with one base, KV caches get half of what the weights leave; given sizes count against it. The server's memory for adapters is divided
 * equally, and bounded by what is left. Throws `out_of_memory` where weights and given sizes alone are too much.
 */
export function planMemory(memoryBytes: number, needs: readonly BaseNeed[], totals: MemoryTotals): MemoryPlan {
  const weightBytes = sum(needs.map((need) => need.weightBytes));
  const own = sum(needs.flatMap(({ kvBytes, cacheBytes, activeBytes }) => [kvBytes, cacheBytes, activeBytes]));
  const given = own + (totals.kvBytes ?? 0);
  const left = memoryBytes - weightBytes - given;
  if (left < 0) {
    const found = weightBytes + given;
    const message = `The bases need ${formatBytes(weightBytes)} for weights and ${formatBytes(given)} as their options say, more than the ${formatBytes(memoryBytes)} of this machine.`;
    throw new LorikeetError("out_of_memory", message, { found, allowed: memoryBytes });
  }
  const forCaches = totals.kvBytes === null ? Math.floor(left / 2) : 0;
  const kvBytes = equalPart(totals.kvBytes ?? forCaches, needs, "kvBytes");
  const quarter = Math.floor((left - forCaches) / 2);
  const cacheBytes = equalPart(Math.min(totals.cacheBytes, quarter), needs, "cacheBytes");
  const activeBytes = equalPart(Math.min(totals.activeBytes, quarter), needs, "activeBytes");
  const shares = needs.map((need) => ({
    kvBytes: need.kvBytes ?? kvBytes,
    cacheBytes: need.cacheBytes ?? cacheBytes,
    activeBytes: need.activeBytes ?? activeBytes,
  }));
  return { memoryBytes, weightBytes, shares };
}

const sum = (sizes: readonly (number | null)[]): number => sizes.reduce<number>((all, size) => all + (size ?? 0), 0);

function equalPart(bytes: number, needs: readonly BaseNeed[], kind: keyof BaseShare): number {
  return Math.floor(bytes / Math.max(1, needs.filter((need) => need[kind] === null).length));
}
