/**
 * Plans the form of every weight of a decoder for a precision. A plan is data: it is hashed into the cache's key, and a caller
 * may change single entries. Reads no weights.
 */

import { LorikeetError } from "../base/errors.js";
import { at } from "../base/list.js";
import { type ExpectedTensor, expectedTensors, type JoinableLinears, joinableLinears } from "../model/modules.js";
import type { DecoderConfig, TensorLocation } from "../model/types.js";
import type { Rounding, WeightForm } from "../model/weights.js";
import { rowLimits } from "./quantize.js";

export interface WeightPlanEntry {
  readonly form: WeightForm;
  /** Stored tensors to join along their outputs. Default: the tensor of the entry's name. */
  readonly sources?: readonly string[];
  /** The stored matrix is [in, out] (gpt2's Conv1D). */
  readonly transposed?: boolean;
  /** `int8row` only: if the relative weight error exceeds this, the weight takes the form `int8`. */
  readonly maxRowError?: number;
  /** `int8row` only: the integers lie in [-rowLimit, rowLimit]. Default 127. */
  readonly rowLimit?: number;
  /**
   * For a transposed copy of a quantized weight: its inputs are that weight's outputs. The copy quantizes not the stored matrix but
   * the values of that weight, rounded along its own inputs.
   */
  readonly rounded?: Rounding;
  /** Scales of blocks in float16. Default float32. */
  readonly halfScales?: boolean;
}

/** By the weight's name: its tensor's, or for joined weights Phi-3's name (`...self_attn.qkv_proj.weight`). */
export type WeightPlan = ReadonlyMap<string, WeightPlanEntry>;

export interface PlanOptions {
  readonly dtype: "fp32" | "fp16" | "int8" | "int4";
  /** For dtype int8: blocks for `MatMulNBits` (default) or rows for `MatMulIntegerToFloat`. */
  readonly int8Kind?: "blocks" | "rows";
  /** Of everything that is not quantized and of the scales of blocks, for a graph that computes in it. Default fp32, or fp16 if dtype is fp16. */
  readonly floats?: "fp32" | "fp16";
  /** Default int8, or the dtype if that is fp32 or fp16. A tied int8 head shares its bytes with the embedding table. */
  readonly headDtype?: "fp32" | "fp16" | "int8";
  /** Layers with a larger relative weight error use blocks instead of rows. Default 0.02, or 0.04 with a reduced `rowLimit`. */
  readonly maxRowError?: number;
  /** 127, or 64 where the kernel saturates with larger integers (see kernel-probe). Default 127. */
  readonly rowLimit?: number;
  /** Join q, k and v, and gate and up, into one weight each, with their biases: fewer products per step. Default false. */
  readonly pack?: boolean;
  /** Gather embeddings from 16-bit tables as they are stored. Default true; a device without such kernels reads them as fp32. */
  readonly rawTables?: boolean;
  /** Other forms by module path (`model.layers.0.mlp.down_proj`): mixed precision. */
  readonly overrides?: ReadonlyMap<string, WeightForm>;
}

/**
 * Half the range doubles a row's error, so both bounds send the same layers to blocks, which are three times slower.
 * Measured on the embedded model, all layers in rows: perplexity on held-out books grows by 0.09 % at an error of 0.014,
 * 0.14 % at 0.037, 0.20 % at 0.054 and 0.37 % at 0.07 (0.03 % in blocks), and by at most 0.5 % under an adapter; 1 % is the bound.
 */
const maxRowErrors = { full: 0.02, reduced: 0.04 } as const;

/** The largest relative error of a layer in rows, by the rows' limit. */
export const rowErrorBound = (rowLimit: number): number =>
  rowLimit > rowLimits.reduced ? maxRowErrors.full : maxRowErrors.reduced;

/** The plan for a checkpoint's tensors. Throws `model_invalid` if a tensor is missing, `invalid_value` for an unknown override. */
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
  { role, transposed, precise = false }: ExpectedTensor,
  stored: TensorLocation,
  options: PlanOptions,
): WeightPlanEntry {
  const { dtype, headDtype = dtype === "fp32" || dtype === "fp16" ? dtype : "int8" } = options;
  const { floats = dtype === "fp16" ? "fp16" : "fp32" } = options;
  const scales = floats === "fp16" ? { halfScales: true } : {};
  switch (role) {
    case "head":
      return { form: headDtype, ...(headDtype === "int8" ? scales : {}) };
    case "embedding":
      if (config.head.tied) return { form: headDtype, ...(headDtype === "int8" ? scales : {}) };
      // Only gathered from: casting a few rows per step costs less than a converted copy.
      return { form: stored.dtype === "F64" || options.rawTables === false ? floats : "raw" };
    case "matrix":
      return planMatrix(
        { ...(transposed ? { transposed } : {}), ...scales },
        precise ? { ...options, dtype: "fp32" } : options,
      );
    case "filter":
    case "score":
      return { form: "fp32" };
    case "positions":
    case "norm":
    case "bias":
      return { form: floats };
  }
}

function planMatrix(
  { halfScales, ...layout }: Pick<WeightPlanEntry, "transposed" | "halfScales">,
  options: PlanOptions,
): WeightPlanEntry {
  const { dtype, int8Kind, rowLimit = rowLimits.full } = options;
  const isInBlocks = dtype === "int4" || (dtype === "int8" && int8Kind !== "rows");
  if (isInBlocks && halfScales) return { form: dtype, ...layout, halfScales };
  if (dtype !== "int8" || int8Kind !== "rows") return { form: dtype, ...layout };
  return { form: "int8row", ...layout, maxRowError: options.maxRowError ?? rowErrorBound(rowLimit), rowLimit };
}

function override(plan: Map<string, WeightPlanEntry>, overrides: PlanOptions["overrides"]): void {
  for (const [path, form] of overrides ?? []) {
    const name = `${path}.weight`;
    const entry = plan.get(name);
    if (!entry) {
      throw new LorikeetError("invalid_value", `There is no weight "${name}" that could take the form ${form}.`, {
        param: name,
        found: path,
        allowed: [...plan.keys()],
      });
    }
    const { maxRowError: _, rowLimit: __, ...rest } = entry;
    plan.set(name, { ...rest, form });
  }
}

/** Joins layers that read the same input and have equal forms; layers with different forms (overrides) stay separate. */
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

/** The joined weight and the joined bias of a group, by the first of their sources. */
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
