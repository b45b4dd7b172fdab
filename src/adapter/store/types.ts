/** What an adapter store is asked and what it answers: options, limits, results. Holds no behaviour. */

import type { LorikeetError } from "../../base/errors.js";
import type { Logger } from "../../base/log.js";
import type { TryLock } from "../../base/try-lock.js";
import type { AdapterRecord, AdapterSummary } from "../types.js";
import type { CheckFolder } from "./scan.js";

export interface StoreLimits {
  /** Bytes of all stored versions together; past it a `put` is `store_full`. Folders of the operator do not count. */
  readonly totalBytes: number;
  readonly maxNames: number;
  /** How often folders and other processes' changes are looked for. */
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

/** Told of what happens. Calls are synchronous and must be cheap. */
export interface StoreObserver {
  /** A name points at a digest: it is new, or it pointed at another before. */
  named?(record: AdapterRecord): void;
  unnamed?(record: AdapterRecord): void;
  /** No name here points at a version that computes this, and none is held. */
  unwanted?(weightsDigest: string): void;
  /** A version's files are gone. */
  deleted?(digest: string): void;
}

export interface StoreOptions {
  readonly directory: string;
  readonly check: CheckFolder;
  /** What a check's result holds for: the base model's fingerprint. Another key makes stored versions be checked again. */
  readonly checkKey: string;
  /** By which the processes that share the directory see which of them are alive. */
  readonly tryLock: TryLock;
  /** The base's name and its aliases. */
  readonly reserved?: readonly string[];
  /** Throws for an adapter that passed the check but can never be served here, such as one larger than the host cache. */
  readonly admit?: (summary: AdapterSummary) => void;
  readonly limits?: Partial<StoreLimits>;
  readonly observer?: StoreObserver;
  readonly logger?: Logger;
}

export interface PutOptions {
  /** `*`: refuse with `precondition_failed` when the name exists. */
  readonly ifNoneMatch?: "*";
  /** Who sent it: clients take turns at the check. */
  readonly client?: string;
}

export interface PutResult {
  readonly record: AdapterRecord;
  readonly outcome: "created" | "replaced" | "identical";
}

export interface Verdict {
  readonly name: string;
  readonly digest: string | null;
  /** null: the files are what they were when they were stored. */
  readonly error: LorikeetError | null;
}

export interface StoreUsage {
  readonly versions: number;
  readonly bytes: number;
  readonly totalBytes: number;
}
