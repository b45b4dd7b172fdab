/** What an engine is put together from. Holds no behaviour. */
import type { AdapterSource, HostAdapter, HostHead } from "../adapter/types.js";
import type { Logger } from "../base/log.js";
import type { Device } from "../runtime/device/device.js";
import type { BankHold } from "./adapters/bank.js";
import type { ActiveSet, AdapterHold, SlotMemory, StepRunner } from "./steps.js";
import type { EngineLimits, EngineObserver } from "./types.js";

export interface EngineParts<Held = HostAdapter, Hold extends AdapterHold = BankHold> {
  /** Whose loss ends the engine. Default: one that is never lost. */
  readonly device?: Pick<Device, "onLost">;
  readonly runner: StepRunner<Held, Hold>;
  readonly cache: SlotMemory;
  readonly bank: ActiveSet<Held, Hold>;
  readonly adapters: AdapterSource<Held> | null;
  /** The classification head of an adapter's texts, or of the base's. Default: there is none. */
  readonly headOf?: (adapter: Held | null) => HostHead | null;
  readonly vocabSize: number;
  /** Ids of prompts, where an encoder has a vocabulary of its own. Default: `vocabSize`. */
  readonly promptVocabSize?: number;
  /** Decode steps have an even number of rows; the cache has a slot to spare where `maxBatch` is odd. */
  readonly evenRows: boolean;
  readonly limits: EngineLimits;
  /** A text that generation takes beyond this many tokens is read again from its start; null: never. */
  readonly rereadLength: number | null;
  /** No chunk may hold decoding rows up for longer. */
  readonly maxStallMs: number;
  /** Tokens of the largest prefill chunk. */
  readonly maxChunk: number;
  /** An encoder reads the prompts: each is one chunk, and penalties do not count its tokens. Default: false. */
  readonly encodesPrompts?: boolean;
  /** What every answer of such a model begins with unseen: penalties count it. Default: nothing. */
  readonly startIds?: readonly number[];
  /** Measured at start: prompt tokens a second. */
  readonly prefillRate: number;
  readonly observer?: EngineObserver;
  readonly logger?: Logger;
  readonly now?: () => number;
  /** Called when the loop has ended and nothing runs any more. */
  readonly dispose?: () => Promise<void>;
}
