/**
 * Which form every weight of a decoder takes for a chosen precision. A plan is data: it is hashed into the cache's key, and
 * a caller may change single entries. Reads no weight.
 */

import { LorikeetError } from "../base/errors.js";
import { at } from "../base/list.js";
import { type ExpectedTensor, expectedTensors, type JoinableLinears, joinableLinears } from "../model/modules.js";
import type { DecoderConfig, TensorLocation } from "../model/types.js";
import type { Rounding, WeightForm } from "../model/weights.js";
import { rowLimits } from "./quantize.js";

export interface WeightPlanEntry {
  readonly form: WeightForm;
  /** Stored tensors joined along their outputs into one weight; the entry's own name unless told otherwise. */
  readonly sources?: readonly string[];
  /** The stored matrix is [in, out] (gpt2's Conv1D). */
  readonly transposed?: boolean;
  /** `int8row` only: with a relative weight error above this the weight takes the form `int8` instead. */
  readonly maxRowError?: number;
  /** `int8row` only: its integers lie in [-rowLimit, rowLimit]; 127 unless told otherwise. */
  readonly rowLimit?: number;
  /**
   * A copy that is read the other way round: its inputs are the outputs of the weight that this one was made from, and what
   * is quantized is not the stored matrix but what that weight stands for, rounded along its own inputs.
   */
  readonly rounded?: Rounding;
}

/** By the weight's name: its tensor's, or for joined weights the name that phi3 gives them (`...self_attn.qkv_proj.weight`). */
export type WeightPlan = ReadonlyMap<string, WeightPlanEntry>;

export interface PlanOptions {
  readonly dtype: "fp32" | "int8" | "int4";
  /** For dtype int8: blocks for `MatMulNBits` (the default) or rows for `MatMulIntegerToFloat`. */
  readonly int8Kind?: "blocks" | "rows";
  /** int8 unless dtype is fp32. An int8 head that is tied shares its bytes with the embedding table. */
  readonly headDtype?: "fp32" | "int8";
  /** Above this relative weight error a layer leaves the rows for blocks; 0.02, or 0.04 with a reduced `rowLimit`. */
  readonly maxRowError?: number;
  /** 127, or 64 where the kernel saturates with larger integers (see kernel-probe); 127. */
  readonly rowLimit?: number;
  /** Join q, k and v, and gate and up, into one weight each (and their biases): fewer products a step. Default false. */
  readonly pack?: boolean;
  /** Module paths (`model.layers.0.mlp.down_proj`) that take another form: mixed precision by layer. */
  readonly overrides?: ReadonlyMap<string, WeightForm>;
}

/**
 * Half the range doubles a row's error, so that either bound sends the same layers to blocks, which are three times slower.
 * Measured on the embedded model, all layers in rows: perplexity on held-out books grows by 0.09 % at an error of 0.014,
 * 0.14 % at 0.037, 0.20 % at 0.054 and 0.37 % at 0.07 (0.03 % in blocks), and by at most 0.5 % under an adapter; 1 % is the bound.
 */
const maxRowErrors = { full: 0.02, reduced: 0.04 } as const;

/** The relative error up to which a layer stays in rows of a limit. */
export const rowErrorBound = (rowLimit: number): number =>
  rowLimit > rowLimits.reduced ? maxRowErrors.full : maxRowErrors.reduced;

/** The plan for a checkpoint's tensors. Throws `model_invalid` when one is missing, `invalid_value` for an unknown override. */
export function planWeights(
  config: DecoderConfig,
  tensors: ReadonlyMap<string, TensorLocation>,
  options: PlanOptions,
): WeightPlan {
  const plan = new Map<string, WeightPlanEntry>();
  for (const tensor of expectedTensors(config)) {
    const { name } = tensor;
    const stored = tensors.get(name);
    if (!stored) {
      throw new LorikeetError("model_invalid", `The checkpoint holds no tensor "${name}".`, { param: name });
    }
    plan.set(name, planTensor(config, tensor, stored, options));
  }
  override(plan, options.overrides);
  return options.pack ? pack(config, plan) : plan;
}

function planTensor(
  config: DecoderConfig,
  { role, transposed }: ExpectedTensor,
  stored: TensorLocation,
  options: PlanOptions,
): WeightPlanEntry {
  const { dtype, headDtype = dtype === "fp32" ? "fp32" : "int8" } = options;
  switch (role) {
    case "head":
      return { form: headDtype };
    case "embedding":
      if (config.head.tied) return { form: headDtype };
      // Only gathered from: a few rows a step, cast where it is used, cost less than a converted copy.
      return { form: stored.dtype === "F64" ? "fp32" : "raw" };
    case "matrix":
      return planMatrix(transposed ? { transposed } : {}, options);
    case "positions":
    case "norm":
    case "bias":
    case "filter":
      return { form: "fp32" };
  }
}

function planMatrix(layout: Pick<WeightPlanEntry, "transposed">, options: PlanOptions): WeightPlanEntry {
  const { dtype, int8Kind, rowLimit = rowLimits.full } = options;
  if (dtype !== "int8" || int8Kind !== "rows") return { form: dtype, ...layout };
  return { form: "int8row", ...layout, maxRowError: options.maxRowError ?? rowErrorBound(rowLimit), rowLimit };
}

function override(plan: Map<string, WeightPlanEntry>, overrides: PlanOptions["overrides"]): void {
  for (const [path, form] of overrides ?? []) {
    const name = `${path}.weight`;
    const entry = plan.get(name);
    if (!entry) {
      throw new LorikeetError("invalid_value", `No weight "${name}" exists whose form could be ${form}.`, {
        param: name,
        found: path,
        allowed: [...plan.keys()],
      });
    }
    const { maxRowError: _, rowLimit: __, ...rest } = entry;
    plan.set(name, { ...rest, form });
  }
}

/** Joins layers that read the same input and have equal forms; layers whose forms differ (an override) stay apart. */
function pack(config: DecoderConfig, plan: WeightPlan): WeightPlan {
  const joins = new Map(joinableLinears(config).flatMap((group) => joinsOf(plan, group)));
  const gone = new Set([...joins.values()].flatMap(({ sources }) => sources.slice(1)));
  const packed = new Map<string, WeightPlanEntry>();
  for (const [name, entry] of plan) {
    const join = joins.get(name);
    if (join) packed.set(join.name, { ...entry, sources: join.sources });
    else if (!gone.has(name)) packed.set(name, entry);
  }
  return packed;
}

/** The weights and the biases of a group as one each, by the first of their sources. */
function joinsOf(
  plan: WeightPlan,
  { linears, joined }: JoinableLinears,
): [string, { name: string; sources: string[] }][] {
  const forms = new Set(linears.map(({ path }) => plan.get(`${path}.weight`)?.form));
  if (forms.size > 1) return [];
  return ["weight", "bias"]
    .map((kind) => ({ name: `${joined}.${kind}`, sources: linears.map(({ path }) => `${path}.${kind}`) }))
    .filter(({ sources }) => sources.every((source) => plan.has(source)))
    .map((join) => [at(join.sources, 0), join]);
}
