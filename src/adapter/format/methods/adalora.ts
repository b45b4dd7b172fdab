/**
 * AdaLoRA (arXiv:2303.10512) as LoRA: PEFT computes y = W x + s·B (E∘A) x, where E scales each row of A. Only the rows that pruning
 * left are saved, and s = alpha / (r₀ + 1e-5) always uses the initial rank r₀.
 */

import { assert } from "../../../base/errors.js";
import { float32At } from "../../../base/list.js";
import { formatShape } from "../../../tensor/shape.js";
import type { MethodConfig } from "../canonical.js";
import type { FieldReader } from "../config/fields.js";
import type { Faults } from "../faults.js";
import { parseKey } from "../keys.js";
import { lora } from "./lora.js";
import { type AdapterMethod, type ExtraTensor, feature, matrix, unknown } from "./method.js";

const defaultRank = 12;
const maxMask = 4096;

const singularValues: ExtraTensor = {
  role: "E",
  words: { the: "lora_E", a: "lora_E" },
  axes: 2,
  isFoldedIntoA: true,
  check({ path, rank }, shape, faults) {
    if (!shape) faults.invalid(`module ${path} has lora_A but no lora_E`);
    else if (shape[0] !== rank || shape[1] !== 1) {
      faults.invalid(`module ${path} has shape ${formatShape(shape)} in lora_E; ${formatShape([rank, 1])} is allowed`);
    }
  },
  addTo(module, values) {
    const { a, rank } = module; // [in, rank]
    assert(a instanceof Float32Array, "a module with singular values is widened to float32");
    for (let i = 0; i < a.length; i++) a[i] = float32At(a, i) * float32At(values, i % rank);
    return module;
  },
};

export const adaLora: AdapterMethod = {
  ...lora,
  name: "AdaLoRA",
  harmlessKeys: new Set([
    ...["beta1", "beta2", "deltaT", "init_r", "orth_reg_weight", "target_r", "tfinal", "tinit", "total_step"],
  ]),
  prunesRanks: true,
  extraTensor: singularValues,
  kinds: new Set(["linear"]),
  isTrainable: false,
  describe: ({ r }) => `AdaLoRA with initial rank ${r}, folded into LoRA on load`,
  readConfig,
  meaningOf(marker, rest) {
    if (marker === "m" || marker === "lora_magnitude_vector") return feature("dora");
    const role = { lora_A: "A", lora_B: "B", lora_E: "E" }[marker];
    // Bare parameters: followed by nothing or by the adapter's name.
    if (rest.length > 1 || (role !== "A" && role !== "B" && role !== "E")) return unknown;
    return matrix(role);
  },
};

function readConfig(field: FieldReader, faults: Faults): MethodConfig {
  const initial = field.positiveInteger("init_r", defaultRank);
  const alpha = field.number("lora_alpha", 8);
  // In float32, like PEFT, which replaces an alpha that is not positive by the module's rank.
  const divisor = Math.fround(Math.fround(initial) + Math.fround(1e-5));
  return {
    canonical: {
      peft_type: "ADALORA",
      r: initial,
      lora_alpha: alpha,
      ...lora.flags,
      rank_pattern: [],
      alpha_pattern: [],
    },
    scaling(rank) {
      const scale = (alpha > 0 ? alpha : rank) / divisor;
      return { scale, alpha: scale * rank };
    },
    keptRanks: readKeptRanks(field, faults),
  };
}

/** `rank_pattern` says which rows of each `lora_E`, by its name, are left. */
function readKeptRanks(field: FieldReader, faults: Faults): Map<string, number> {
  const kept = new Map<string, number>();
  const allowed = `a list of up to ${maxMask} times true or false`;
  for (const [name, mask] of field.entries("rank_pattern", isMask, allowed)) {
    const key = parseKey(name, { method: adaLora, modulesToSave: [], trainsBias: false, tableNames: new Set() });
    if (key.kind === "matrix" && key.role === "E") kept.set(key.path, mask.filter(Boolean).length);
    else
      faults.invalid(`rank_pattern names ${JSON.stringify(name.slice(0, 160))}, which is not the lora_E of a module`);
  }
  return kept;
}

function isMask(value: unknown): value is readonly boolean[] {
  return Array.isArray(value) && value.length <= maxMask && value.every((entry) => typeof entry === "boolean");
}
