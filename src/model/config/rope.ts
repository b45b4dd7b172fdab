/**
 * Rotary positions of a config: `rope_parameters` of transformers 5 (flat, or one entry per layer type), or `rope_theta` and
 * `rope_scaling` of earlier versions. What is not implemented is refused by name, never replaced by a default.
 */

import { isObject, shown } from "../../base/json.js";
import { valueAt } from "../../base/list.js";
import type { Rope, RopeScaling } from "../blueprint.js";
import { inverseFrequencies } from "../rope.js";
import type { ConfigFields } from "./fields.js";
import type { LayerType } from "./windows.js";

/** How a family rotates, and the sizes that its ropes depend on. */
export interface RopeRules {
  readonly headDim: number;
  readonly maxPositions: number;
  /** The scalings that the family's class accepts. Default: all. */
  readonly types?: readonly RopeScaling["kind"][];
  /** Other names of a scaling in old configs of the family. */
  readonly aliases?: Readonly<Record<string, RopeScaling["kind"]>>;
  /** The default of `rope_theta`: 10000 if omitted. */
  readonly theta?: number;
  /** The default of `partial_rotary_factor`: 1 if omitted. */
  readonly partialFactor?: number;
  /** The rope of sliding layers, if each layer type has its own. A config with a single rope then states that of full attention. */
  readonly sliding?: { readonly theta: number };
  /** Keys without effect on text. */
  readonly ignores?: readonly string[];
  /** Whether a text that exceeds longrope's original length is recomputed from its start. */
  readonly rereads?: boolean;
}

/** The ropes of a decoder, and which of them each layer type has. */
export interface Ropes {
  readonly ropes: readonly Rope[];
  of(type: LayerType): number;
}

interface RopeContext extends RopeRules {
  readonly fields: ConfigFields;
}

const ropeTypes: readonly RopeScaling["kind"][] = ["default", "linear", "dynamic", "yarn", "longrope", "llama3"];
const sources = ["rope_parameters", "rope_scaling"] as const;

/** Reads the single rope of all layers. Faults go to `fields.faults`. */
export function readRope(fields: ConfigFields, rules: RopeRules, layerTypes: readonly LayerType[]): Rope {
  const context = { fields, ...rules };
  const ropes = sources.flatMap((key) => [...readSource(context, key, layerTypes).values()]);
  const [rope = readDictionary(context, fields.nested("rope_parameters", {})), ...others] = ropes;
  for (const other of others) {
    if (JSON.stringify(other) !== JSON.stringify(rope)) {
      fields.faults.unsupported(
        `config.json describes two different ropes, ${shown(rope)} and ${shown(other)}; one rope for all layers is implemented`,
      );
      break;
    }
  }
  checkRope(context, rope);
  return rope;
}

/**
 * Reads a rope for each layer type in use, for families with a `sliding` rope. Layer types with equal ropes share one. Faults go to
 * `fields.faults`.
 */
export function readRopes(fields: ConfigFields, rules: RopeRules, layerTypes: readonly LayerType[]): Ropes {
  const context = { fields, ...rules };
  const found = sources.map((key) => readSource(context, key, layerTypes)).filter(({ size }) => size > 0);
  const [stated, other] = found;
  if (stated && other && JSON.stringify([...stated]) !== JSON.stringify([...other])) {
    fields.faults.unsupported(`${fields.name("rope_parameters")} and its rope_scaling describe different ropes`);
  }
  const of = (type: LayerType): Rope => {
    const own = stated?.get(type);
    if (own) return own;
    if (type === "sliding_attention" && rules.sliding) {
      const sliding = { ...context, theta: rules.sliding.theta };
      const rotaryDim = readRotaryDim(sliding, fields.nested("rope_parameters", {}));
      return { theta: sliding.theta, rotaryDim, scaling: { kind: "default" } };
    }
    return stated?.get("full_attention") ?? readDictionary(context, fields.nested("rope_parameters", {}));
  };
  const ropes: Rope[] = [];
  const places = new Map<LayerType, number>();
  for (const type of (["full_attention", "sliding_attention"] as const).filter((one) => layerTypes.includes(one))) {
    const rope = of(type);
    checkRope(context, rope);
    const known = ropes.findIndex((one) => JSON.stringify(one) === JSON.stringify(rope));
    if (known < 0) ropes.push(rope);
    places.set(type, known < 0 ? ropes.length - 1 : known);
  }
  return { ropes, of: (type) => valueAt(places, type) };
}

/** The ropes of one key by layer type: none, only that of full attention, or one for each layer type in use. */
function readSource(
  context: RopeContext,
  key: (typeof sources)[number],
  layerTypes: readonly LayerType[],
): Map<LayerType, Rope> {
  const { fields } = context;
  const ropes = new Map<LayerType, Rope>();
  const value = fields.raw(key);
  if (value === undefined || value === null) return ropes;
  if (!isObject(value)) {
    fields.faults.invalid(`${fields.name(key)} is ${shown(value)}, but must be an object or null`);
    return ropes;
  }
  if (Object.keys(value).length === 0) return ropes;
  const outer = fields.nested(key, value);
  const isNested = Object.keys(value).some((name) => name.endsWith("_attention"));
  if (!isNested) return ropes.set("full_attention", readDictionary(context, outer));
  for (const type of new Set(layerTypes)) {
    const inner = outer.raw(type);
    if (isObject(inner)) ropes.set(type, readDictionary(context, outer.nested(type, inner)));
    else {
      fields.faults.unsupported(
        `${outer.name(type)} is ${shown(inner ?? null)}, but layers of that type need rope parameters`,
      );
    }
  }
  return ropes;
}

function readDictionary(context: RopeContext, dictionary: ConfigFields): Rope {
  return {
    theta: readTheta(context, dictionary),
    rotaryDim: readRotaryDim(context, dictionary),
    scaling: readScaling(context, dictionary),
  };
}

/** `rope_theta` is inside or beside the dictionary. Two different values are a fault. */
function readTheta({ fields, theta = 10000 }: RopeContext, dictionary: ConfigFields): number {
  const outside = fields.has("rope_theta") ? fields.positive("rope_theta", theta) : theta;
  if (!dictionary.has("rope_theta")) return outside;
  const inside = dictionary.positive("rope_theta", theta);
  if (fields.has("rope_theta") && inside !== outside) {
    fields.faults.invalid(
      `${dictionary.name("rope_theta")} is ${inside}, but ${fields.name("rope_theta")} is ${outside}`,
    );
  }
  return inside;
}

/** transformers writes the class's default beside the dictionary; the dictionary's own factor takes precedence. */
function readRotaryDim({ fields, partialFactor = 1, headDim }: RopeContext, dictionary: ConfigFields): number {
  const holder = dictionary.has("partial_rotary_factor") ? dictionary : fields;
  const factor = holder.has("partial_rotary_factor") ? holder.positive("partial_rotary_factor", 1) : partialFactor;
  if (factor > 1) {
    fields.faults.invalid(`${holder.name("partial_rotary_factor")} is ${factor}, but must be at most 1`);
    return headDim;
  }
  return Math.trunc(headDim * factor);
}

function readScaling(context: RopeContext, dictionary: ConfigFields): RopeScaling {
  const { fields, types = ropeTypes, aliases = {} } = context;
  const older = dictionary.string("type", "default");
  const type = dictionary.string("rope_type", older);
  if (dictionary.has("type") && dictionary.has("rope_type") && older !== type) {
    fields.faults.invalid(`${dictionary.name("rope_type")} is ${shown(type)}, but its type is ${shown(older)}`);
  }
  const named = Object.hasOwn(aliases, type) ? aliases[type] : type;
  const kind = types.find((implemented) => implemented === named);
  if (kind) refuseForeignKeys(dictionary, context.ignores);
  if (dictionary.has("factor") && !dictionary.has("type") && !dictionary.has("rope_type")) {
    fields.faults.invalid(`${dictionary.name("rope_type")} is missing beside a factor`);
  }
  switch (kind) {
    case "default":
      return { kind };
    case "linear":
      return { kind, factor: required(dictionary, "factor") };
    case "dynamic":
      return { kind, factor: required(dictionary, "factor"), originalMaxPositions: context.maxPositions };
    case "yarn":
      return readYarn(context, dictionary);
    case "longrope":
      return readLongrope(context, dictionary);
    case "llama3":
      return readLlama3(context, dictionary);
    case undefined: {
      fields.faults.unsupported(
        `the rope type ${shown(type)} is not implemented for this family; ${types.join(", ")} ${types.length > 1 ? "are" : "is"}`,
      );
      return { kind: "default" };
    }
  }
}

/** A value beside the dictionary takes precedence over one inside, as in transformers. */
function readOriginal({ fields, maxPositions }: RopeContext, dictionary: ConfigFields): number {
  const key = "original_max_position_embeddings";
  return (fields.has(key) ? fields : dictionary).integer(key, maxPositions);
}

function readLlama3(context: RopeContext, dictionary: ConfigFields): RopeScaling {
  const scaling = {
    kind: "llama3",
    factor: required(dictionary, "factor"),
    lowFreqFactor: required(dictionary, "low_freq_factor"),
    highFreqFactor: required(dictionary, "high_freq_factor"),
    originalMaxPositions: readOriginal(context, dictionary),
  } as const;
  if (scaling.highFreqFactor <= scaling.lowFreqFactor) {
    context.fields.faults.invalid(
      `${dictionary.name("high_freq_factor")} is ${scaling.highFreqFactor}, but must be above low_freq_factor, ${scaling.lowFreqFactor}`,
    );
  }
  return scaling;
}

/** YaRN (arXiv:2309.00071). Keys that are missing, null or 0 have their defaults. */
function readYarn(context: RopeContext, dictionary: ConfigFields): RopeScaling {
  const originalMaxPositions = readOriginal(context, dictionary);
  const factor = dictionary.has("factor")
    ? dictionary.positive("factor", 1)
    : context.maxPositions / originalMaxPositions;
  const positive = (key: string): number | null =>
    !dictionary.has(key) || dictionary.raw(key) === 0 ? null : dictionary.positive(key, 1);
  const [mscale, mscaleAll] = [positive("mscale"), positive("mscale_all_dim")];
  const byScale =
    mscale !== null && mscaleAll !== null
      ? magnitude(factor, mscale) / magnitude(factor, mscaleAll)
      : magnitude(factor, 1);
  return {
    kind: "yarn",
    factor,
    originalMaxPositions,
    betaFast: positive("beta_fast") ?? 32,
    betaSlow: positive("beta_slow") ?? 1,
    truncate: dictionary.boolean("truncate", true),
    attentionFactor: positive("attention_factor") ?? byScale,
  };
}

/** The factor of the scores at a scale, section 3.4 of the paper. */
const magnitude = (scale: number, weight: number): number => (scale <= 1 ? 1 : 0.1 * weight * Math.log(scale) + 1);

/** LongRoPE (arXiv:2402.13753): a factor for each pair of rotated values, with a second set for long texts. */
function readLongrope(context: RopeContext, dictionary: ConfigFields): RopeScaling {
  const { fields, maxPositions, rereads = false } = context;
  const originalMaxPositions = readOriginal(context, dictionary);
  const pairs = readRotaryDim(context, dictionary) / 2;
  const factor = dictionary.has("factor") ? dictionary.positive("factor", 1) : maxPositions / originalMaxPositions;
  const byLength = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(originalMaxPositions));
  const attentionFactor = dictionary.has("attention_factor") ? dictionary.positive("attention_factor", 1) : byLength;
  if (!Number.isFinite(attentionFactor)) {
    fields.faults.invalid("original_max_position_embeddings of a longrope is 1, but must be at least 2");
  }
  const factors = (key: string): number[] => {
    const value: unknown = dictionary.raw(key);
    const list: unknown[] = Array.isArray(value) ? value : [];
    const numbers = list.filter((one): one is number => typeof one === "number" && one > 0);
    if (list.length === pairs && numbers.length === pairs) return numbers;
    fields.faults.invalid(
      `${dictionary.name(key)} is ${shown(value ?? null)}, but must be ${pairs} numbers above zero`,
    );
    return []; // not an array of that many ones: a config can claim heads of any size
  };
  return {
    kind: "longrope",
    originalMaxPositions,
    shortFactors: factors("short_factor"),
    longFactors: factors("long_factor"),
    attentionFactor,
    rereads,
  };
}

const knownKeys: ReadonlySet<string> = new Set([
  ...["rope_type", "type", "rope_theta", "partial_rotary_factor", "factor", "original_max_position_embeddings"],
  ...["low_freq_factor", "high_freq_factor"],
  ...["beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate", "attention_factor"],
  ...["short_factor", "long_factor", "max_position_embeddings", "llama_4_scaling_beta", "finetuned"],
]);

/** A key of another rope type, such as `mrope_section`. */
function refuseForeignKeys(dictionary: ConfigFields, ignored: readonly string[] = []): void {
  for (const key of dictionary.keys) {
    if (!knownKeys.has(key) && !ignored.includes(key) && dictionary.has(key)) {
      dictionary.faults.unsupported(`${dictionary.name(key)} (${shown(dictionary.raw(key))}) is not implemented`);
    }
  }
}

function required(dictionary: ConfigFields, key: string): number {
  if (!dictionary.has(key)) dictionary.faults.invalid(`${dictionary.name(key)} is missing`);
  return dictionary.has(key) ? dictionary.positive(key, 1) : 1;
}

/** Heads are rotated in pairs, and every angle up to the last position must be a float32. */
function checkRope({ fields, headDim, maxPositions }: RopeContext, rope: Rope): void {
  const { rotaryDim } = rope;
  if (headDim % 8 !== 0) {
    fields.faults.unsupported(`heads of ${headDim} are not implemented with rotary positions; multiples of 8 are`);
  } else if (rotaryDim < 2 || rotaryDim % 2 !== 0) {
    fields.faults.unsupported(
      `rotating ${rotaryDim} of ${headDim} values of a head is not possible; they are rotated in pairs`,
    );
  } else if (rotaryDim <= maxChecked && hasFactors(rope)) {
    const fastest = Math.max(...inverseFrequencies(rope, maxPositions));
    if (!Number.isFinite(Math.fround(fastest * maxPositions))) {
      fields.faults.invalid(`config.json describes a rope, ${shown(rope)}, whose angles are not finite numbers`);
    }
  }
}

/** Whether every pair has its factors; else that is the fault. */
const hasFactors = ({ scaling, rotaryDim }: Rope): boolean =>
  scaling.kind !== "longrope" ||
  [scaling.shortFactors, scaling.longFactors].every((factors) => factors.length === rotaryDim / 2);

/** No checkpoint has wider heads, so their frequencies are not computed for a mere config. */
const maxChecked = 4096;
