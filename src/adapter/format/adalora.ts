/**
 * AdaLoRA as LoRA: PEFT computes y = W x + s·B (E∘A) x, where E scales each row of A, what pruning left of the rows is
 * saved, and s = alpha / (r₀ + 1e-5) goes by the rank r₀ that training began with, however many rows are left.
 */

import type { MethodConfig } from "./canonical.js";
import type { FieldReader } from "./config/fields.js";
import type { Faults } from "./faults.js";
import { parseKey } from "./keys.js";

/** Of the training's schedule; without effect on a finished adapter. */
export const adaLoraKeys: ReadonlySet<string> = new Set([
  "beta1",
  "beta2",
  "deltaT",
  "init_r",
  "orth_reg_weight",
  "target_r",
  "tfinal",
  "tinit",
  "total_step",
]);

const defaultRank = 12;
const maxMask = 4096;

export function readAdaLora(field: FieldReader, faults: Faults): MethodConfig {
  const initial = field.positiveInteger("init_r", defaultRank);
  const alpha = field.number("lora_alpha", 8);
  // In float32, as PEFT holds it. It takes the module's own rank for an alpha that is not positive.
  const divisor = Math.fround(Math.fround(initial) + Math.fround(1e-5));
  return {
    canonical: {
      peft_type: "ADALORA",
      r: initial,
      lora_alpha: alpha,
      use_rslora: false,
      rank_pattern: [],
      alpha_pattern: [],
    },
    scaleOf: (rank) => (alpha > 0 ? alpha : rank) / divisor,
    keptRanks: readKeptRanks(field, faults),
  };
}

/** `rank_pattern` holds, by the name of each `lora_E`, which of its rows are left. */
function readKeptRanks(field: FieldReader, faults: Faults): Map<string, number> {
  const kept = new Map<string, number>();
  const allowed = `a list of up to ${maxMask} times true or false`;
  for (const [name, mask] of field.entries("rank_pattern", isMask, allowed)) {
    const key = parseKey(name, { method: "ADALORA", dora: false, modulesToSave: [], trainsBias: false });
    if (key.kind === "matrix" && key.role === "E") kept.set(key.path, mask.filter(Boolean).length);
    else
      faults.invalid(`rank_pattern names ${JSON.stringify(name.slice(0, 160))}, which is not the lora_E of a module`);
  }
  return kept;
}

function isMask(value: unknown): value is readonly boolean[] {
  return Array.isArray(value) && value.length <= maxMask && value.every((entry) => typeof entry === "boolean");
}
