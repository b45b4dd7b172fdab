/** mlx-lm's `adapter_config.json`: its training arguments, with the adapter's in `lora_parameters`. */

import { type Faults, quote, quoteList } from "../faults.js";
import { configFile } from "../files.js";
import { harmlessMlxKeys, mlxParameterKeys } from "../known.js";
import { dora } from "../methods/dora.js";
import { lora } from "../methods/lora.js";
import type { AdapterMethod } from "../methods/method.js";
import { type FieldOptions, FieldReader, type Fields, maxAlpha } from "./fields.js";
import type { ReadConfig } from "./read.js";

/** By `fine_tune_type`. */
const methods: ReadonlyMap<unknown, AdapterMethod> = new Map([
  ["lora", lora],
  ["dora", dora],
]);

export function readMlx(
  fields: Fields,
  parameters: Fields,
  faults: Faults,
  warnings: string[],
  { trusted = false }: Pick<FieldOptions, "trusted"> = {},
): ReadConfig | null {
  const type = fields.fine_tune_type ?? "lora";
  const method = fields.use_dora === true ? dora : methods.get(type);
  if (!method) {
    const allowed = [...methods.keys()].map(quote).join(" and ");
    faults.unsupported(`mlx-lm's fine_tune_type ${quote(type)} is not supported; ${allowed} are`);
    return null;
  }
  const field = new FieldReader(parameters, faults, { prefix: "lora_parameters.", trusted });
  const rank = field.positiveInteger("rank", 8);
  if (parameters.scale === undefined) faults.invalid(`${configFile} has no lora_parameters.scale`);
  const scale = field.positiveNumber("scale", 1, maxAlpha);
  const alpha = readAlpha(parameters, field, scale, rank, warnings);
  const effective = alpha === null ? scale : (scale * alpha) / rank;
  const unknown = [
    ...Object.keys(fields).filter((key) => !harmlessMlxKeys.has(key)),
    ...new FieldReader(fields, faults).unknownKeys("lora_parameters", mlxParameterKeys),
  ];
  if (unknown.length > 0) warnings.push(`${configFile} has unknown keys, which were ignored: ${quoteList(unknown)}.`);
  return {
    method,
    canonical: {
      peft_type: "LORA",
      r: rank,
      lora_alpha: scale * (alpha ?? rank),
      ...method.flags,
      rank_pattern: [],
      alpha_pattern: [],
    },
    scaling: (rankOfModule) => ({ scale: effective, alpha: effective * rankOfModule }),
    keptRanks: new Map(),
    baseName: typeof fields.model === "string" ? fields.model : null,
    taskType: null,
    qaloraGroup: null,
    modulesToSave: [],
    trainsBias: false,
    tiesWeights: false,
    trainedTokens: [],
    targets: trusted ? null : { kind: "mlx", keys: readKeys(parameters, field), layers: readLayers(fields, faults) },
  };
}

/** Releases of April to June 2024 wrote an alpha and computed scale · alpha / rank; null if there is none. */
function readAlpha(
  { alpha }: Fields,
  field: FieldReader,
  scale: number,
  rank: number,
  warnings: string[],
): number | null {
  if (alpha === undefined || alpha === null) return null;
  const given = field.positiveNumber("alpha", rank, maxAlpha);
  if (given !== rank) {
    warnings.push(
      `lora_parameters.alpha is ${given}, so the scale is ${scale} * ${given} / ${rank} = ${(scale * given) / rank}, as mlx-lm of April to ` +
        "June 2024 computed it; its other releases leave alpha out.",
    );
  }
  return given;
}

function readKeys({ keys }: Fields, field: FieldReader): readonly string[] | null {
  return keys === undefined || keys === null ? null : field.texts("keys");
}

/** `num_layers`, formerly `lora_layers`: counted from the last layer. Zero and negative numbers mean all layers. */
function readLayers(fields: Fields, faults: Faults): number {
  const key = fields.num_layers === undefined ? "lora_layers" : "num_layers";
  return Math.max(0, new FieldReader(fields, faults).wholeNumber(key, 0));
}
