/** The check that every adapter of a store passes, and the base models that it may belong to. */

import type { AdapterSummary } from "../types.js";

/** A base model that adapters may belong to. */
export interface StoreBase {
  /** Its served name; null where adapters are read without a base. */
  readonly name: string | null;
  /** Other names under which the store may remember it. */
  readonly aliases?: readonly string[];
  /** Its fingerprint, which a check's result is valid for. With another key, stored versions are checked again. */
  readonly checkKey: string;
}

export interface CheckRequest {
  /** The client that sent it, whose turn it takes. */
  readonly client?: string;
  /** The served name of the base that it is checked against; null or absent: the one that it fits. */
  readonly base?: string | null;
}

export interface CheckedFolder {
  readonly summary: AdapterSummary;
  /** The served name of its base. Absent: the store's only one. */
  readonly base?: string;
}

/** Checks an adapter's folder against a base. Rejects with a LorikeetError that lists every fault. */
export type CheckFolder = (folder: string, request?: CheckRequest) => Promise<CheckedFolder>;
