/** The types of an adapter store: options, limits, results. */

import type { LorikeetError } from "../../base/errors.js";
import type { Logger } from "../../base/log.js";
import type { TryLock } from "../../base/try-lock.js";
import type { AdapterRecord, AdapterSummary } from "../types.js";
import type { CheckFolder, StoreBase } from "./check.js";

export interface StoreLimits {
  /** Bytes of all stored versions; beyond it `put` throws `store_full`. Operators' folders do not count. */
  readonly totalBytes: number;
  readonly maxNames: number;
  /** The interval of scans for folders and for changes by other processes. */
  readonly scanMs: number;
  /** How long a write waits for another process. */
  readonly lockWaitMs: number;
}

export const storeDefaults: StoreLimits = {
  totalBytes: 20 * 2 ** 30,
  maxNames: 10_000,
  scanMs: 2_000,
  lockWaitMs: 30_000,
};

/** Callbacks for events. They are synchronous and must be cheap. */
export interface StoreObserver {
  /** A name is new or points at another digest. */
  named?(record: AdapterRecord): void;
  unnamed?(record: AdapterRecord): void;
  /** No name points at a version with this digest of weights any more, and no such version is held. */
  unwanted?(weightsDigest: string): void;
  /** A version's files were deleted. */
  deleted?(digest: string): void;
}

/** Adapters that lie beside a base: they belong to it and are only read. */
export interface OwnFolder {
  readonly directory: string;
  /** The base's served name. */
  readonly base: string;
}

export interface StoreOptions {
  /** Holds the operator's folders, and the versions that are stored. null: nothing can be stored. */
  readonly directory: string | null;
  /** Scanned after the directory. Of equal names the first is served. */
  readonly own?: readonly OwnFolder[];
  readonly check: CheckFolder;
  readonly bases: readonly [StoreBase, ...StoreBase[]];
  /** How the processes that share the directory see which of them are alive. */
  readonly tryLock: TryLock;
  /** The names of the base models and their aliases. */
  readonly reserved?: readonly string[];
  /** Throws for an adapter that is valid but can never be served here, such as one larger than the host cache. */
  readonly admit?: (summary: AdapterSummary, base: string | null) => void;
  readonly limits?: Partial<StoreLimits>;
  readonly observer?: StoreObserver;
  readonly logger?: Logger;
}

export interface PutOptions {
  /** `*`: throw `precondition_failed` if the name exists. */
  readonly ifNoneMatch?: "*";
  /** The client that sent it: clients take turns at the check. */
  readonly client?: string;
  /** The served name of its base; null or absent: the check finds it. */
  readonly base?: string | null;
  /** The fine-tuning job that trained it; absent: it was uploaded. */
  readonly job?: string;
}

export interface PutResult {
  readonly record: AdapterRecord;
  readonly outcome: "created" | "replaced" | "identical";
}

export interface Verdict {
  readonly name: string;
  readonly digest: string | null;
  /** null if the files are intact. */
  readonly error: LorikeetError | null;
}

export interface StoreUsage {
  readonly versions: number;
  readonly bytes: number;
  readonly totalBytes: number;
}
