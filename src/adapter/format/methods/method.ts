/**
 * How an adapter method differs from plain LoRA, y = W x + s·B(A x). All other code of the format calls the method and never compares
 * its name.
 */

import type { ModuleKind } from "../../../model/task/weighted-nodes.js";
import type { HostModule } from "../../types.js";
import type { CanonicalConfig, MethodConfig } from "../canonical.js";
import type { FieldReader } from "../config/fields.js";
import type { Faults } from "../faults.js";
import type { Feature } from "../features.js";

/** E: AdaLoRA's singular values; M: DoRA's magnitudes; bias: lora_B's. */
export type Role = "A" | "B" | "E" | "M" | "bias";

/** A tensor's role in its module, by the end of its name. */
export type TensorMeaning =
  | {
      readonly kind: "matrix";
      readonly role: Role;
      /** mlx-lm's layout: A [in, r], B [r, out]. */
      readonly transposed: boolean;
    }
  | { readonly kind: "feature"; readonly feature: Feature }
  | { readonly kind: "unknown" };

export const unknown = { kind: "unknown" } as const;
export const feature = (name: Feature) => ({ kind: "feature", feature: name }) as const;
export const matrix = (role: Role, transposed = false) => ({ kind: "matrix", role, transposed }) as const;

export interface AdapterMethod {
  /** As in its paper. */
  readonly name: string;
  /** The keys of a PEFT config that distinguish it from other methods of its `peft_type`. */
  readonly flags: Pick<CanonicalConfig, "use_rslora" | "use_dora">;
  /** Keys of PEFT's config that only this method has and that do not affect a finished adapter. */
  readonly harmlessKeys: ReadonlySet<string>;
  /** Whether training prunes ranks, even to 0, so that the tensors' ranks differ from the config's. */
  readonly prunesRanks: boolean;
  /** What each module has besides lora_A and lora_B. */
  readonly extraTensor: ExtraTensor | null;
  /** The kinds of modules that it adapts. */
  readonly kinds: ReadonlySet<ModuleKind>;
  /** Whether the engine's bank holds a gain for each output besides A and B. */
  readonly hasGains: boolean;
  /** Whether such an adapter can be trained further. */
  readonly isTrainable: boolean;
  /** The scale s. */
  scaleOf(alpha: number, rank: number): number;
  /** A short description for humans. */
  describe(config: CanonicalConfig): string;
  /** Reads the method's keys of PEFT's config. */
  readConfig(field: FieldReader, faults: Faults): MethodConfig;
  /** `marker` is the segment of a tensor's name that gives its role, `rest` the segments after it. */
  meaningOf(marker: string, rest: readonly string[]): TensorMeaning;
}

/** The sizes of a module that has both matrices. */
export interface ModuleSizes {
  readonly path: string;
  readonly rank: number;
  readonly outFeatures: number;
}

/** A tensor that each module of a method has besides lora_A and lora_B. */
export interface ExtraTensor {
  readonly role: Exclude<Role, "A" | "B" | "bias">;
  /** How messages name it, with the definite and the indefinite article. */
  readonly words: { readonly the: string; readonly a: string };
  readonly axes: 1 | 2;
  /** Whether it is multiplied into lora_A. Otherwise it stays in host memory, and changes outputs even if B A is zero. */
  readonly isFoldedIntoA: boolean;
  /** Reports a wrong shape, or a missing tensor (null). */
  check(module: ModuleSizes, shape: readonly number[] | null, faults: Faults): void;
  /** Adds its values to a float32 module, whose arrays it may change. */
  addTo(module: HostModule, values: Float32Array): HostModule;
}
