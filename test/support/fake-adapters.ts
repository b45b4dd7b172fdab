/** Adapters for tests: a real store in a temporary folder whose check reads only the files' bytes, and a cache that records its requests. */
import { createHash } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Mixtures } from "../../src/adapter/cache/mixtures.js";
import { isKeptFile } from "../../src/adapter/format.js";
import { AdapterStore, type StoreOptions } from "../../src/adapter/store/store.js";
import { summaryFile } from "../../src/adapter/store/versions.js";
import type { AdapterSummary } from "../../src/adapter/types.js";
import { LorikeetError } from "../../src/base/errors.js";
import type { CachePort } from "../../src/gateway/adapters.js";
import { tryLockFile } from "../../src/runtime/file-lock.js";

export interface FakeCache extends CachePort {
  readonly prefetched: string[];
  readonly pinned: Set<string>;
  readonly forgotten: string[];
  /** Rejects the next pins when set. */
  pinFault: LorikeetError | null;
}

export interface FakeAdapters {
  readonly store: AdapterStore;
  readonly mixtures: Mixtures;
  readonly cache: FakeCache;
  readonly directory: string;
  /** Stores an adapter whose weights are this text. */
  add(name: string, weights?: string): Promise<string>;
  close(): Promise<void>;
}

export async function fakeAdapters(options: Partial<StoreOptions> = {}): Promise<FakeAdapters> {
  const directory = await mkdtemp(join(tmpdir(), "lorikeet-gateway-"));
  const store = await AdapterStore.open({
    directory,
    check: checkBytes,
    bases: [{ name: "base", checkKey: "test" }],
    tryLock: tryLockFile,
    reserved: ["base"],
    ...options,
  });
  const cache = fakeCache();
  return {
    store,
    cache,
    mixtures: new Mixtures((digest) => cache.state(digest).resident),
    directory,
    add: async (name, weights = name) => {
      const staged = await store.stage();
      await writeFile(join(staged, "adapter_config.json"), "{}");
      await writeFile(join(staged, "adapter_model.safetensors"), weights);
      return (await store.put(name, staged)).record.digest;
    },
    close: async () => {
      await store.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** Weights that begin with `bad` are refused. */
async function checkBytes(folder: string): Promise<{ summary: AdapterSummary }> {
  const names = await readdir(folder);
  if (!names.includes("adapter_model.safetensors")) throw new LorikeetError("adapter_invalid", "There are no weights.");
  const weights = await readFile(join(folder, "adapter_model.safetensors"));
  if (weights.subarray(0, 3).toString() === "bad") {
    throw new LorikeetError("adapter_invalid", "The adapter was refused for 2 faults: one; and 1 more.", {
      faults: ["one", "two"],
    });
  }
  const digest = `sha256:${createHash("sha256").update(weights).digest("hex")}`;
  const summary = {
    digest,
    weightsDigest: digest,
    rank: 8,
    dora: false,
    modules: 2,
    bytes: weights.length,
    activeBytes: 2 * weights.length,
    scales: { min: 1, max: 2 },
    warnings: [],
    ignored: names.filter((name) => !isKeptFile(name) && name !== summaryFile),
  };
  return { summary };
}

function fakeCache(): FakeCache {
  const cache: FakeCache = {
    prefetched: [],
    pinned: new Set(),
    forgotten: [],
    pinFault: null,
    prefetch: (digest) => void cache.prefetched.push(digest),
    pin: async (digest) => {
      if (cache.pinFault) throw cache.pinFault;
      cache.pinned.add(digest);
    },
    unpin: (digest) => void cache.pinned.delete(digest),
    forget: (digest) => {
      cache.forgotten.push(digest);
      cache.pinned.delete(digest);
    },
    state: (digest) => ({ resident: cache.prefetched.includes(digest), pinned: cache.pinned.has(digest), leases: 0 }),
    stats: () => ({
      maxBytes: 1000,
      bytes: 12,
      entries: 1,
      hits: 3,
      misses: 2,
      evictions: 1,
      leased: 0,
      pinned: cache.pinned.size,
      loading: 0,
      waiting: 0,
    }),
  };
  return cache;
}
