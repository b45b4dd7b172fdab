/** The options, events and state of the host cache. */

import type { Logger } from "../../base/log.js";
import type { HostAdapter } from "../types.js";

/** Looks up adapters that are not in the cache. */
export interface AdapterSizes {
  /** Bytes in host memory; undefined for an unknown digest. */
  bytesOf(digest: string): number | undefined;
  /** Bytes of the largest known adapter not in `except`; 0 if there is none. */
  largestBytes(except: ReadonlySet<string>): number;
}

/** Callbacks for metrics. They are synchronous and must be cheap. */
export interface CacheObserver {
  hit?(digest: string): void;
  miss?(digest: string): void;
  loaded?(load: { readonly digest: string; readonly bytes: number; readonly seconds: number }): void;
  /** Evicted to make room. */
  evicted?(digest: string): void;
}

/** What a cache needs to know of what it holds. */
export interface Cacheable {
  readonly digest: string;
  readonly bytes: number;
}

export interface CacheOptions<Held extends Cacheable = HostAdapter> {
  /** Maximum bytes of all adapters in host memory, including those being loaded. */
  readonly maxBytes: number;
  /** Reads an adapter from disk. At most two calls run at a time, and one per digest. */
  readonly load: (digest: string) => Promise<Held>;
  readonly sizes: AdapterSizes;
  readonly observer?: CacheObserver;
  readonly logger?: Logger;
  /** A monotonic clock in milliseconds. */
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

/** An adapter's state in the cache. */
export interface CachedState {
  readonly resident: boolean;
  readonly pinned: boolean;
  readonly leases: number;
}
