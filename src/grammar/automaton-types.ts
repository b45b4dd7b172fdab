/** A deterministic automaton over bytes and calls of rules. */

export interface Automaton {
  readonly start: number;
  readonly accepts: readonly boolean[];
  /** For each state its edges, in the order of their symbols and without overlaps. */
  readonly edges: readonly (readonly Edge[])[];
}

/** Symbols from `low` to `high`, both included: bytes, or one call. */
export interface Edge {
  readonly low: number;
  readonly high: number;
  readonly target: number;
}
