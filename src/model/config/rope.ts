/**
 * Rotary positions of a config: `rope_parameters` (flat, or one entry a layer type) of transformers 5, and `rope_theta`
 * with `rope_scaling` before it. What is not implemented is named and refused, never replaced by the default.
 */

import { isObject, shown } from "../../base/json.js";
import type { Rope, RopeScaling } from "../blueprint.js";
import type { ConfigFields } from "./fields.js";
import type { LayerType } from "./windows.js";

const defaultTheta = 10000;
const knownKeys: ReadonlySet<string> = new Set([
  "rope_type",
  "type",
  "rope_theta",
  "partial_rotary_factor",
  "factor",
  "low_freq_factor",
  "high_freq_factor",
  "original_max_position_embeddings",
]);

/** What a rope may be in a family, and the sizes that it depends on. */
export interface RopeRules {
  readonly headDim: number;
  readonly maxPositions: number;
  readonly types: readonly RopeScaling["kind"][];
  /** Whether the family may rotate a part of each head. */
  readonly partial: boolean;
}

interface RopeContext extends RopeRules {
  readonly fields: ConfigFields;
}

/** Reads the one rope of all layers; faults go to `fields.faults`. */
export function readRope(fields: ConfigFields, rules: RopeRules, layerTypes: readonly LayerType[]): Rope {
  const context = { fields, ...rules };
  const ropes = ["rope_parameters", "rope_scaling"].flatMap((key) => readSource(context, key, layerTypes));
  const [rope = readDictionary(context, fields.nested("rope_parameters", {})), ...others] = ropes;
  for (const other of others) {
    if (JSON.stringify(other) !== JSON.stringify(rope)) {
      fields.faults.unsupported(
        `config.json describes two different ropes, ${shown(rope)} and ${shown(other)}; one rope for all layers is implemented`,
      );
      break;
    }
  }
  checkKernel(context, rope);
  return rope;
}

/** Every rope that one key describes: none, one, or one a layer type in use. */
function readSource(context: RopeContext, key: string, layerTypes: readonly LayerType[]): Rope[] {
  const { fields } = context;
  const value = fields.raw(key);
  if (value === undefined || value === null) return [];
  if (!isObject(value)) {
    fields.faults.invalid(`${fields.name(key)} is ${shown(value)}, but must be an object or null`);
    return [];
  }
  if (Object.keys(value).length === 0) return [];
  const outer = fields.nested(key, value);
  const isNested = Object.keys(value).some((name) => name.endsWith("_attention"));
  if (!isNested) return [readDictionary(context, outer)];
  return [...new Set(layerTypes)].flatMap((type) => {
    const inner = outer.raw(type);
    if (isObject(inner)) return [readDictionary(context, outer.nested(type, inner))];
    fields.faults.unsupported(
      `${outer.name(type)} is ${shown(inner ?? null)}, but layers of that type need rope parameters`,
    );
    return [];
  });
}

function readDictionary(context: RopeContext, dictionary: ConfigFields): Rope {
  const { fields } = context;
  const theta = inheritedNumber(fields, dictionary, "rope_theta", defaultTheta);
  return { theta, rotaryDim: readRotaryDim(context, dictionary), scaling: readScaling(context, dictionary) };
}

/** A number that lies in the dictionary or beside it; two different ones are a fault. */
function inheritedNumber(fields: ConfigFields, dictionary: ConfigFields, key: string, absent: number): number {
  const outside = fields.has(key) ? fields.positive(key, absent) : absent;
  if (!dictionary.has(key)) return outside;
  const inside = dictionary.positive(key, absent);
  if (fields.has(key) && inside !== outside) {
    fields.faults.invalid(`${dictionary.name(key)} is ${inside}, but ${fields.name(key)} is ${outside}`);
  }
  return inside;
}

function readRotaryDim({ fields, partial, headDim }: RopeContext, dictionary: ConfigFields): number {
  const factor = inheritedNumber(fields, dictionary, "partial_rotary_factor", 1);
  if (factor > 1 || (factor !== 1 && !partial)) {
    const allowed = partial ? "at most 1" : "1: this family rotates whole heads";
    fields.faults.unsupported(`partial_rotary_factor is ${factor}, but must be ${allowed}`);
    return headDim;
  }
  return Math.trunc(headDim * factor);
}

function readScaling(context: RopeContext, dictionary: ConfigFields): RopeScaling {
  const { fields, types, maxPositions } = context;
  const older = dictionary.string("type", "default");
  const type = dictionary.string("rope_type", older);
  if (dictionary.has("type") && dictionary.has("rope_type") && older !== type) {
    fields.faults.invalid(`${dictionary.name("rope_type")} is ${shown(type)}, but its type is ${shown(older)}`);
  }
  const kind = types.find((implemented) => implemented === type);
  if (kind) refuseForeignKeys(dictionary);
  if (dictionary.has("factor") && !dictionary.has("type") && !dictionary.has("rope_type")) {
    fields.faults.invalid(`${dictionary.name("rope_type")} is missing beside a factor`);
  }
  switch (kind) {
    case "default":
      return { kind };
    case "linear":
      return { kind, factor: required(dictionary, "factor") };
    case "llama3": {
      // A value beside the dictionary wins over the one inside, as in transformers.
      const holder = fields.has("original_max_position_embeddings") ? fields : dictionary;
      const scaling = {
        kind,
        factor: required(dictionary, "factor"),
        lowFreqFactor: required(dictionary, "low_freq_factor"),
        highFreqFactor: required(dictionary, "high_freq_factor"),
        originalMaxPositions: holder.integer("original_max_position_embeddings", maxPositions),
      } as const;
      if (scaling.highFreqFactor <= scaling.lowFreqFactor) {
        fields.faults.invalid(
          `${dictionary.name("high_freq_factor")} is ${scaling.highFreqFactor}, but must be above low_freq_factor, ${scaling.lowFreqFactor}`,
        );
      }
      return scaling;
    }
    case undefined: {
      const implemented = types.join(", ");
      fields.faults.unsupported(
        `the rope type ${shown(type)} is not implemented for this family; ${implemented} ${types.length > 1 ? "are" : "is"}`,
      );
      return { kind: "default" };
    }
  }
}

/** A key of another rope type, `mrope_section` for one. */
function refuseForeignKeys(dictionary: ConfigFields): void {
  for (const key of dictionary.keys) {
    if (!knownKeys.has(key) && dictionary.has(key)) {
      dictionary.faults.unsupported(`${dictionary.name(key)} (${shown(dictionary.raw(key))}) is not implemented`);
    }
  }
}

function required(dictionary: ConfigFields, key: string): number {
  if (!dictionary.has(key)) dictionary.faults.invalid(`${dictionary.name(key)} is missing`);
  return dictionary.has(key) ? dictionary.positive(key, 1) : 1;
}

/** ONNX Runtime's GroupQueryAttention rotates 16 values at a time, in heads that are a multiple of 16. */
function checkKernel({ fields, headDim }: RopeContext, { rotaryDim }: Rope): void {
  if (headDim % 16 !== 0) {
    fields.faults.unsupported(`heads of ${headDim} are not implemented with rotary positions; multiples of 16 are`);
  } else if (rotaryDim < 16 || rotaryDim % 16 !== 0) {
    fields.faults.unsupported(
      `rotating ${rotaryDim} of ${headDim} values of a head is not implemented; multiples of 16 are`,
    );
  }
}
