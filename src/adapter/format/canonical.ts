/** What is left of a config once it has been understood, whatever method wrote it. Holds no behaviour. */

import type { PatternEntries } from "./patterns.js";
import type { MlxTargets, PeftTargets } from "./targets.js";

/** ADALORA is folded into LoRA as it is loaded. */
export type PeftMethod = "LORA" | "ADALORA";

/** The keys that decide what an adapter computes; part of its digest. */
export interface CanonicalConfig {
  readonly peft_type: PeftMethod;
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

/** What a method's own reading of the config finds out. */
export interface MethodConfig {
  readonly canonical: CanonicalConfig;
  /** Of a module of a rank, where it is not alpha over rank: mlx-lm's `scale`, AdaLoRA's own rule. */
  readonly scaleOf: ((rank: number) => number) | null;
  /** AdaLoRA: the rank that pruning left, by module path. */
  readonly keptRanks: ReadonlyMap<string, number>;
}

export interface ReadConfig extends MethodConfig {
  readonly baseName: string | null;
  readonly modulesToSave: readonly string[];
  readonly trainsBias: boolean;
  /** Which modules it names; null where that was looked at before. */
  readonly targets: PeftTargets | MlxTargets | null;
}
