/** Texts that are kept for their owners under an id, within bounds. Knows nothing of what they say. */
import { LorikeetError } from "../base/errors.js";

export interface RecordBounds {
  readonly maxRecords: number;
  /** Bytes of all records as UTF-8. */
  readonly maxBytes: number;
  readonly maxAgeMs: number;
}

/** Nobody but its owner finds a record. Both names consist of letters, digits, `_` and `-`. */
export interface RecordKey {
  readonly owner: string;
  readonly id: string;
}

export interface RecordStats {
  readonly records: number;
  readonly bytes: number;
  /** Records that were dropped because of a bound. */
  readonly dropped: number;
}

export interface RecordStore extends AsyncDisposable {
  /** null if there is none. Throws LorikeetError `records_damaged`. */
  get(key: RecordKey): Promise<string | null>;
  /**
   * Stores or replaces a record, and drops the oldest ones past the bounds: those of the owner that takes the most. Throws LorikeetError
   * `store_full` for a record that could never fit or a full disk, `records_damaged` if the store cannot be written.
   */
  put(key: RecordKey, text: string): Promise<void>;
  /** Whether there was one. */
  remove(key: RecordKey): Promise<boolean>;
  stats(): RecordStats;
}

export const recordDefaults: RecordBounds = {
  maxRecords: 10_000,
  maxBytes: 256 * 2 ** 20,
  maxAgeMs: 30 * 24 * 3_600_000,
};

/** Throws LorikeetError `store_full` if a record of this size could never be kept. */
export function requireFit(bytes: number, { maxBytes }: RecordBounds): void {
  if (bytes <= maxBytes) return;
  throw new LorikeetError("store_full", `The response has ${bytes} bytes; --max-response-bytes allows ${maxBytes}.`, {
    found: bytes,
    allowed: maxBytes,
  });
}
