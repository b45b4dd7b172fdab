/** What the host cache needs and what it tells. Holds no behaviour. */

import type { Logger } from "../../base/log.js";
import type { HostAdapter } from "../types.js";

/** What the cache asks about adapters that it does not hold. */
export interface AdapterSizes {
  /** Bytes in host memory; undefined for a digest that is not known. */
  bytesOf(digest: string): number | undefined;
  /** Bytes of the largest known adapter that is not among `except`; 0 without any. */
  largestBytes(except: ReadonlySet<string>): number;
}

/** Told of what happens, for metrics. Calls are synchronous and must be cheap. */
export interface CacheObserver {
  hit?(digest: string): void;
  miss?(digest: string): void;
  loaded?(load: { readonly digest: string; readonly bytes: number; readonly seconds: number }): void;
  /** Given up to make room. */
  evicted?(digest: string): void;
}

export interface CacheOptions {
  /** Bytes of all adapters in host memory, those being loaded included. */
  readonly maxBytes: number;
  /** Reads an adapter from disk. Called at most twice at a time, and once at a time for each digest. */
  readonly load: (digest: string) => Promise<HostAdapter>;
  readonly sizes: AdapterSizes;
  readonly observer?: CacheObserver;
  readonly logger?: Logger;
  /** Milliseconds that only grow. */
  readonly now?: () => number;
}

export interface CacheStats {
  readonly maxBytes: number;
  readonly bytes: number;
  readonly entries: number;
  readonly hits: number;
  readonly misses: number;
  readonly evictions: number;
  /** Adapters with at least one lease. */
  readonly leased: number;
  readonly pinned: number;
  /** Adapters being read from disk. */
  readonly loading: number;
  /** Adapters that wait for room. */
  readonly waiting: number;
}

/** Where one adapter stands in the cache. */
export interface CachedState {
  readonly resident: boolean;
  readonly pinned: boolean;
  readonly leases: number;
}
