/** What the step loop needs from whatever computes: steps, the memory of slots, and the adapters in use. */
import type { DecodeRow, PrefillChunk, PrefillOutput } from "./runner.js";

/** A counted hold on an adapter that steps may use. */
export interface AdapterHold {
  readonly digest: string;
  release(): void;
}

/** The adapters that steps may use. */
export interface ActiveSet<Held, Hold> {
  readonly bytes: number;
  readonly digests: readonly string[];
  readonly holds: number;
  /** Whether `compact` would find something to do. */
  readonly scattered: boolean;
  /** Resolves with null when there is no room until a hold is released. Throws `adapter_too_large` for an adapter that never fits. */
  acquire(adapter: Held): Promise<Hold | null>;
  compact(): Promise<unknown>;
}

/** What sequences keep in their slots between steps. */
export interface SlotMemory {
  /** Tokens of a slot that may be moved within so many bytes. */
  tokensWithin(bytes: number): number;
  /** Copies the first `tokens` tokens of a slot to another. */
  copy(from: number, to: number, tokens: number): Promise<void>;
}

/** Computes steps. Logits are valid until the next one. */
export interface StepRunner<Held, Hold> {
  /** Awaited before an adapter is placed; null: the base. */
  prepare(adapter: Held | null, output?: PrefillOutput): Promise<void>;
  /** What is asked for of every token, or of the last one only. */
  prefill(chunk: PrefillChunk<Hold>, cache: SlotMemory, bank: ActiveSet<Held, Hold>): Promise<Float32Array>;
  /** Logits [rows, vocabulary]; row i is slot i. */
  decode(rows: readonly DecodeRow<Hold>[], cache: SlotMemory, bank: ActiveSet<Held, Hold>): Promise<Float32Array>;
  /** `decode` for rows of which the likeliest token is all that is wanted: tokens [rows], or logits. */
  decodeLikeliest?(
    rows: readonly DecodeRow<Hold>[],
    cache: SlotMemory,
    bank: ActiveSet<Held, Hold>,
  ): Promise<Float32Array | readonly number[]>;
}
