/** What may change a row of logits before a token is chosen from it. A sequence has a list of processors, applied in order. */

/** A processor of one sequence. `apply` and `accept` run for every token, so neither may allocate. */
export interface LogitsProcessor {
  /** True while `apply` would change nothing: then the row need not be copied for it. */
  readonly isIdle: boolean;
  /** Changes a copy of the row [vocab] in place. */
  apply(row: Float32Array): void;
  /** Records that a token was generated. */
  accept(token: number): void;
}
