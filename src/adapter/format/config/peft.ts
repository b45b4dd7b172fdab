/**
 * Reads PEFT's config. Keys that change the computation in an unsupported way are refused by name. Unknown keys, at any depth, are
 * warnings.
 */

import type { PeftType } from "../canonical.js";
import { type Faults, quote, quoteList } from "../faults.js";
import type { FeatureLog } from "../features.js";
import { configFile } from "../files.js";
import { harmlessInits, harmlessKeys, harmlessObjects, otherMethods, refusedInits, refusedKeys } from "../known.js";
import { isPeftType, methodOf, peftTypes } from "../methods/methods.js";
import type { PeftTargets } from "../targets.js";
import { readTrainedTokens } from "../trained-tokens.js";
import { type FieldOptions, FieldReader, type Fields } from "./fields.js";
import type { ReadConfig } from "./read.js";

export function readPeft(
  fields: Fields,
  faults: Faults,
  features: FeatureLog,
  warnings: string[],
  { trusted = false }: Pick<FieldOptions, "trusted"> = {},
): ReadConfig | null {
  const type = readType(fields.peft_type, faults);
  if (!type) return null;
  const field = new FieldReader(fields, faults, { trusted });
  const dora = field.flag("use_dora");
  const method = methodOf({ peft_type: type, use_rslora: fields.use_rslora === true, use_dora: dora });
  if (dora && !method.hasGains) features.note("adalora_dora");
  if (field.flag("lora_bias")) features.note("lora_bias");
  const trainsBias = fields.bias !== undefined && fields.bias !== null && fields.bias !== "none";
  checkInit(fields.init_lora_weights, faults, warnings);
  for (const [key, what] of refusedKeys) {
    if (isSet(fields[key])) faults.unsupported(`${key} is set (${what}), which is not supported`);
  }
  const isKnown = (key: string): boolean =>
    harmlessKeys.has(key) || refusedKeys.has(key) || method.harmlessKeys.has(key);
  const nested = trusted ? [] : [...harmlessObjects].flatMap(([key, known]) => field.unknownKeys(key, known));
  const strange = [...Object.keys(fields).filter((key) => !isKnown(key)), ...nested];
  if (strange.length > 0) warnings.push(`${configFile} has unknown keys, which were ignored: ${quoteList(strange)}.`);
  if (fields.lora_alpha === undefined) warnings.push(`${configFile} has no lora_alpha; PEFT's default of 8 was used.`);
  if (fields.lora_alpha === null) {
    warnings.push(`${configFile} has lora_alpha null, with which PEFT itself fails; its default of 8 was used.`);
  }
  const modulesToSave = [...new Set([...field.texts("modules_to_save"), ...headsOf(fields.task_type)])];
  field.flag("fan_in_fan_out"); // says how the base stores its weights; A and B have the same shapes
  return {
    method,
    ...method.readConfig(field, faults),
    baseName: field.text("base_model_name_or_path"),
    taskType: fields.task_type,
    qaloraGroup: field.flag("use_qalora") ? field.wholeNumber("qalora_group_size", 16) : null,
    modulesToSave,
    trainsBias,
    tiesWeights: fields.ensure_weight_tying === true,
    trainedTokens: readTrainedTokens(fields.trainable_token_indices, faults),
    targets: trusted ? null : readTargets(field, modulesToSave),
  };
}

/** The heads that PEFT saves of its own accord. Its older releases do not write them into `modules_to_save`. */
function headsOf(taskType: unknown): readonly string[] {
  if (taskType === "SEQ_CLS" || taskType === "TOKEN_CLS") return ["classifier", "score"];
  return taskType === "QUESTION_ANS" ? ["qa_outputs"] : [];
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

function readType(type: unknown, faults: Faults): PeftType | null {
  if (isPeftType(type)) return type;
  if (typeof type !== "string") {
    faults.invalid(
      `${configFile} has peft_type ${quote(type ?? null)}; ${peftTypes.map(quote).join(" and ")} are allowed`,
    );
    return null;
  }
  const capitals = type.toUpperCase();
  if (isPeftType(capitals)) {
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
    warnings.push(`init_lora_weights ${quote(init)} is unknown; if it changed the base, the adapter does not fit.`);
    return;
  }
  faults.unsupported(
    `${refused[1]} initialization (init_lora_weights ${quote(init)}) changed the base's weights, so the adapter does not fit the plain ` +
      "base; convert it to plain LoRA with PEFT's save_pretrained(path_initial_model_for_weight_conversion=...)",
  );
}

/** PEFT writes "not used" as null, false, 0, "" or something empty. */
function isSet(value: unknown): boolean {
  if (!value) return false;
  return typeof value === "object" ? Object.keys(value).length > 0 : true;
}
