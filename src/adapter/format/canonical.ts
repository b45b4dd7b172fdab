/** A config in canonical form, the same for every method. */

import type { PatternEntries } from "./patterns.js";

/** ADALORA is folded into LoRA on load. */
export type PeftType = "LORA" | "ADALORA";

/** The keys that determine what an adapter computes; part of its digest. */
export interface CanonicalConfig {
  readonly peft_type: PeftType;
  /** AdaLoRA: the initial rank. */
  readonly r: number;
  readonly lora_alpha: number;
  readonly use_rslora: boolean;
  /** Absent without DoRA, so that other adapters keep the digests of earlier versions. */
  readonly use_dora?: true;
  /** In the file's order, since the first match counts. */
  readonly rank_pattern: PatternEntries;
  readonly alpha_pattern: PatternEntries;
}

/** The factor of B A x, and the alpha that it comes from. */
export interface Scaling {
  readonly scale: number;
  readonly alpha: number;
}

/** What a method reads from the config. */
export interface MethodConfig {
  readonly canonical: CanonicalConfig;
  /** Of a module with this rank, and with `alpha_pattern`'s alpha if it has one. */
  readonly scaling: (rank: number, alpha: number | undefined) => Scaling;
  /** AdaLoRA: the rank that pruning left, by module path. */
  readonly keptRanks: ReadonlyMap<string, number>;
}
