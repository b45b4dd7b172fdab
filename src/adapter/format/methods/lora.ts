/** LoRA (arXiv:2106.09685), as PEFT and mlx-lm write it: two matrices for each module, and s = alpha / r. */

import type { MethodConfig } from "../canonical.js";
import { type FieldReader, maxAlpha } from "../config/fields.js";
import { type AdapterMethod, feature, matrix, type TensorMeaning, unknown } from "./method.js";

export const lora: AdapterMethod = {
  name: "LoRA",
  flags: { use_rslora: false },
  harmlessKeys: new Set(),
  prunesRanks: false,
  extraTensor: null,
  kinds: new Set(["linear", "convolution", "table"]),
  hasGains: false,
  isTrainable: true,
  scaleOf: (alpha, rank) => alpha / rank,
  describe: () => "LoRA",
  readConfig: (field) => readLora(field, lora),
  meaningOf,
};

/** The config of LoRA and of methods that differ from it in scale or magnitudes. */
export function readLora(field: FieldReader, { scaleOf, flags }: AdapterMethod): MethodConfig {
  const loraAlpha = field.positiveNumber("lora_alpha", 8, maxAlpha);
  return {
    canonical: {
      peft_type: "LORA",
      r: field.positiveInteger("r", 8),
      lora_alpha: loraAlpha,
      ...flags,
      use_rslora: field.flag("use_rslora"),
      rank_pattern: field.ranks("rank_pattern"),
      alpha_pattern: field.positiveNumbers("alpha_pattern", maxAlpha),
    },
    scaling: (rank, alpha = loraAlpha) => ({ alpha, scale: scaleOf(alpha, rank) }),
    keptRanks: new Map(),
  };
}

function meaningOf(marker: string, rest: readonly string[]): TensorMeaning {
  if (marker === "m" || marker === "lora_magnitude_vector") return feature("dora");
  if (marker === "lora_E") return feature("adalora");
  if (marker === "lora_a" || marker === "lora_b") {
    return rest.length > 0 ? unknown : matrix(marker === "lora_a" ? "A" : "B", true);
  }
  if (rest.length > 2 || rest.length === 0) return unknown; // `weight`, or the adapter's name and `weight`
  const end = rest.at(-1);
  if (end === "bias" && marker === "lora_B") return matrix("bias");
  if (end !== "weight") return unknown;
  return matrix(marker === "lora_A" ? "A" : "B");
}
