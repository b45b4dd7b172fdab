/**
 * What sets an adapter method apart from plain LoRA, y = W x + s·B(A x). All other code of the format asks the method; none asks
 * which one it is.
 */

import type { HostModule } from "../../types.js";
import type { CanonicalConfig, MethodConfig } from "../canonical.js";
import type { FieldReader } from "../config/fields.js";
import type { Faults } from "../faults.js";
import type { Feature } from "../features.js";

/** E: AdaLoRA's singular values; M: DoRA's magnitudes. */
export type Role = "A" | "B" | "E" | "M";

/** What a tensor is to its module, by the end of its name. */
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
  /** As its paper writes it. */
  readonly name: string;
  /** The keys of a PEFT config that tell it from others of its `peft_type`. */
  readonly flags: Pick<CanonicalConfig, "use_rslora" | "use_dora">;
  /** Keys that only this method has in PEFT's config and that change nothing in a finished adapter. */
  readonly harmlessKeys: ReadonlySet<string>;
  /** Whether training prunes ranks, even to 0, so that the config's are not those of the tensors. */
  readonly prunesRanks: boolean;
  /** What each module has beside lora_A and lora_B. */
  readonly extraTensor: ExtraTensor | null;
  /** Whether the engine's bank holds a gain for each output beside A and B. */
  readonly hasGains: boolean;
  /** Whether training can start from such an adapter. */
  readonly isTrainable: boolean;
  /** s. */
  scaleOf(alpha: number, rank: number): number;
  /** For people, in a few words. */
  describe(config: CanonicalConfig): string;
  /** Reads what PEFT's config says of it. */
  readConfig(field: FieldReader, faults: Faults): MethodConfig;
  /** `marker`: the part of a tensor's name that tells its role; `rest`: the parts behind it. */
  meaningOf(marker: string, rest: readonly string[]): TensorMeaning;
}

/** The sizes of a module that has both matrices. */
export interface ModuleSizes {
  readonly path: string;
  readonly rank: number;
  readonly outFeatures: number;
}

/** A tensor that each module of a method has beside lora_A and lora_B. */
export interface ExtraTensor {
  readonly role: Exclude<Role, "A" | "B">;
  /** In messages, with either article where it has one. */
  readonly words: { readonly the: string; readonly a: string };
  readonly axes: 1 | 2;
  /** Whether it is multiplied into lora_A. What is not stays in host memory, and changes outputs even where B A is zero. */
  readonly isFoldedIntoA: boolean;
  /** Reports a shape that does not fit its module, or that it is missing (null). */
  check(module: ModuleSizes, shape: readonly number[] | null, faults: Faults): void;
  /** Takes its values into a module in float32, whose arrays it may change. */
  addTo(module: HostModule, values: Float32Array): HostModule;
}
