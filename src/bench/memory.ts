/** Measures the memory of adapters: in host memory against their files, in the active set against one fp32 copy. */

import { stat } from "node:fs/promises";
import { join } from "node:path";
import { weightFiles } from "../adapter/format.js";
import type { HostAdapter } from "../adapter/types.js";
import { assert } from "../base/errors.js";
import { folderRank } from "./materials.js";
import { adapterBytes } from "./random-adapter.js";
import type { Series } from "./series.js";
import type { BenchStack } from "./stack.js";

export const memoryIds = {
  host: "memory/host",
  file: "memory/file",
  active: "memory/active",
  copies: "memory/one fp32 copy",
} as const;

/** Bytes of each adapter in host memory and of its file, one sample per adapter. */
export async function measureHostMemory({ adapters }: BenchStack): Promise<Series[]> {
  assert(adapters, "the stack has adapters");
  const host: number[] = [];
  const file: number[] = [];
  for (const { digest, weightsDigest } of adapters.store.list()) {
    const lease = await adapters.cache.acquire(weightsDigest);
    host.push(residentBytes(lease.adapter));
    lease.release();
    file.push((await stat(join(await adapters.store.folder(digest), weightFiles[0]))).size);
  }
  return [
    { id: memoryIds.host, unit: "bytes", samples: host },
    { id: memoryIds.file, unit: "bytes", samples: file },
  ];
}

/** Bytes of the current active set, and of one fp32 copy of each adapter in it. */
export function measureActiveMemory({ checkpoint, started }: BenchStack): Series[] {
  const { activeAdapterBytes, activeAdapters } = started.engine.stats();
  const copies = activeAdapters.length * adapterBytes(checkpoint.config, folderRank);
  return [
    { id: memoryIds.active, unit: "bytes", samples: [activeAdapterBytes] },
    { id: memoryIds.copies, unit: "bytes", samples: [copies] },
  ];
}

/** The memory that an adapter keeps alive: whole buffers, even where an array views only a part. */
export function residentBytes({ modules }: HostAdapter): number {
  const buffers = new Set([...modules.values()].flatMap(({ a, b, gain = a }) => [a.buffer, b.buffer, gain.buffer]));
  return [...buffers].reduce((sum, { byteLength }) => sum + byteLength, 0);
}
