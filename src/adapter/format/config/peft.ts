/**
 * PEFT's config: keys that change the arithmetic in ways that are not served are refused by name, keys on no list are warned of,
 * at whatever depth they are.
 */

import { adaLoraKeys, readAdaLora } from "../adalora.js";
import type { MethodConfig, PeftMethod, ReadConfig } from "../canonical.js";
import { type Faults, quote, quoteList } from "../faults.js";
import type { FeatureLog } from "../features.js";
import { configFile } from "../files.js";
import { harmlessInits, harmlessKeys, harmlessObjects, otherMethods, refusedInits, refusedKeys } from "../known.js";
import type { PeftTargets } from "../targets.js";
import { type FieldOptions, FieldReader, type Fields } from "./fields.js";

/** Far beyond what anyone trains with; more overflows with the values of the matrices. */
export const maxAlpha = 1_000_000;

export function readPeft(
  fields: Fields,
  faults: Faults,
  features: FeatureLog,
  warnings: string[],
  { trusted = false }: Pick<FieldOptions, "trusted"> = {},
): ReadConfig | null {
  const method = methodOf(fields.peft_type, faults);
  if (!method) return null;
  const isAdaLora = method === "ADALORA";
  const field = new FieldReader(fields, faults, { trusted });
  const dora = field.flag("use_dora");
  if (dora && isAdaLora) features.note("adalora_dora");
  if (field.flag("lora_bias")) features.note("lora_bias");
  if (isSet(fields.trainable_token_indices)) features.note("trainable_tokens");
  const trainsBias = fields.bias !== undefined && fields.bias !== null && fields.bias !== "none";
  if (trainsBias) features.note("bias");
  checkInit(fields.init_lora_weights, faults, warnings);
  for (const [key, what] of refusedKeys) {
    if (isSet(fields[key])) faults.unsupported(`${key} is set (${what}), which is not supported`);
  }
  const isKnown = (key: string): boolean =>
    harmlessKeys.has(key) || refusedKeys.has(key) || (isAdaLora && adaLoraKeys.has(key));
  const nested = trusted ? [] : [...harmlessObjects].flatMap(([key, known]) => field.unknownKeys(key, known));
  const strange = [...Object.keys(fields).filter((key) => !isKnown(key)), ...nested];
  if (strange.length > 0) warnings.push(`${configFile} has unknown keys, which were ignored: ${quoteList(strange)}.`);
  if (fields.lora_alpha === undefined) warnings.push(`${configFile} has no lora_alpha; PEFT's default of 8 was used.`);
  if (fields.lora_alpha === null) {
    warnings.push(`${configFile} has lora_alpha null, with which PEFT itself fails; its default of 8 was used.`);
  }
  const modulesToSave = field.texts("modules_to_save");
  field.flag("fan_in_fan_out"); // how the base stores its weights: A and B keep their shapes
  return {
    ...(isAdaLora ? readAdaLora(field, faults) : readLora(field, dora)),
    baseName: field.text("base_model_name_or_path"),
    modulesToSave,
    trainsBias,
    targets: trusted ? null : readTargets(field, modulesToSave),
  };
}

function readTargets(field: FieldReader, modulesToSave: readonly string[]): PeftTargets {
  return {
    kind: "peft",
    targetModules: field.textOrTexts("target_modules"),
    excludeModules: field.textOrTexts("exclude_modules") ?? [],
    layersToTransform: field.wholeNumbers("layers_to_transform"),
    layersPattern: [field.textOrTexts("layers_pattern") ?? []].flat().filter((pattern) => pattern !== ""),
    modulesToSave,
  };
}

function readLora(field: FieldReader, dora: boolean): MethodConfig {
  return {
    canonical: {
      peft_type: "LORA",
      r: field.positiveInteger("r", 8),
      lora_alpha: field.positiveNumber("lora_alpha", 8, maxAlpha),
      use_rslora: field.flag("use_rslora"),
      ...(dora ? { use_dora: true } : {}),
      rank_pattern: field.ranks("rank_pattern"),
      alpha_pattern: field.positiveNumbers("alpha_pattern", maxAlpha),
    },
    scaleOf: null,
    keptRanks: new Map(),
  };
}

function methodOf(type: unknown, faults: Faults): PeftMethod | null {
  if (type === "LORA" || type === "ADALORA") return type;
  if (typeof type !== "string") {
    faults.invalid(`${configFile} has peft_type ${quote(type ?? null)}; "LORA" and "ADALORA" are allowed`);
    return null;
  }
  const capitals = type.toUpperCase();
  if (capitals === "LORA" || capitals === "ADALORA") {
    faults.invalid(`${configFile} has peft_type ${quote(type)}; write it as PEFT does, ${quote(capitals)}`);
    return null;
  }
  const name = otherMethods.get(capitals) ?? quote(type);
  faults.unsupported(
    `${name} (peft_type ${quote(type)}) is not supported; train it as LoRA, or merge it into the base`,
  );
  return null;
}

function checkInit(init: unknown, faults: Faults, warnings: string[]): void {
  if (typeof init !== "string" || harmlessInits.has(init.toLowerCase())) return;
  const refused = refusedInits.find(([prefix]) => init.toLowerCase().startsWith(prefix));
  if (!refused) {
    warnings.push(`init_lora_weights ${quote(init)} is not known; if it changed the base, the adapter does not fit.`);
    return;
  }
  faults.unsupported(
    `${refused[1]} initialization (init_lora_weights ${quote(init)}) changed the base's weights, so the adapter does not fit the plain ` +
      "base; convert it to plain LoRA with PEFT's save_pretrained(path_initial_model_for_weight_conversion=...)",
  );
}

/** null, false, 0, "" and what is empty are how PEFT writes "not used". */
function isSet(value: unknown): boolean {
  if (!value) return false;
  return typeof value === "object" ? Object.keys(value).length > 0 : true;
}
