/** What is left of a config once it has been understood, whatever method wrote it. Holds no behaviour. */

import type { PatternEntries } from "./patterns.js";

/** ADALORA is folded into LoRA as it is loaded. */
export type PeftType = "LORA" | "ADALORA";

/** The keys that decide what an adapter computes; part of its digest. */
export interface CanonicalConfig {
  readonly peft_type: PeftType;
  /** AdaLoRA: the rank that it began with. */
  readonly r: number;
  readonly lora_alpha: number;
  readonly use_rslora: boolean;
  /** Absent without DoRA, so that the digests of all others stay what they were. */
  readonly use_dora?: true;
  /** In the order of the file, which decides. */
  readonly rank_pattern: PatternEntries;
  readonly alpha_pattern: PatternEntries;
}

/** What B A x is multiplied with, and the alpha that it comes from. */
export interface Scaling {
  readonly scale: number;
  readonly alpha: number;
}

/** What a method's own reading of the config finds out. */
export interface MethodConfig {
  readonly canonical: CanonicalConfig;
  /** Of a module of this rank, for which `alpha_pattern` may have another alpha. */
  readonly scaling: (rank: number, alpha: number | undefined) => Scaling;
  /** AdaLoRA: the rank that pruning left, by module path. */
  readonly keptRanks: ReadonlyMap<string, number>;
}
