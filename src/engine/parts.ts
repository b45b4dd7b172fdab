/** What an engine is put together from. Holds no behaviour. */
import type { AdapterSource } from "../adapter/types.js";
import type { Logger } from "../base/log.js";
import type { Device } from "../runtime/device/device.js";
import type { Bank } from "./adapters/pool.js";
import type { KvCache } from "./kv-cache.js";
import type { Runner } from "./runner.js";
import type { EngineLimits, EngineObserver } from "./types.js";

export interface EngineParts {
  /** Whose loss ends the engine. Default: one that is never lost. */
  readonly device?: Pick<Device, "onLost">;
  readonly runner: Pick<Runner, "prepare" | "decode" | "prefill"> & Partial<Pick<Runner, "decodeLikeliest">>;
  readonly cache: KvCache;
  readonly bank: Bank;
  readonly adapters: AdapterSource | null;
  readonly vocabSize: number;
  /** Decode steps have an even number of rows; the cache has a slot to spare where `maxBatch` is odd. */
  readonly evenRows: boolean;
  readonly limits: EngineLimits;
  /** A text that generation takes beyond this many tokens is read again from its start; null: never. */
  readonly rereadLength: number | null;
  /** No chunk may hold decoding rows up for longer. */
  readonly maxStallMs: number;
  /** Tokens of the largest prefill chunk. */
  readonly maxChunk: number;
  /** Measured at start: prompt tokens a second. */
  readonly prefillRate: number;
  readonly observer?: EngineObserver;
  readonly logger?: Logger;
  readonly now?: () => number;
  /** Called when the loop has ended and nothing runs any more. */
  readonly dispose?: () => Promise<void>;
}
