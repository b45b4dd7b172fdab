/**
 * Turns an adapter's modules into what the stacks of a serving graph hold: the factor of a folded normalization and DoRA's gains are
 * multiplied into B, and biases become differences from the base's. The bias of a folded normalization shifts its convolution.
 */

import { setImmediate as nextTurn } from "node:timers/promises";
import type { HostTaskAdapter, HostTaskModule, HostTaskTokens } from "../../adapter/types.js";
import { assert, LorikeetError } from "../../base/errors.js";
import type { StoredWeight } from "../../model/blueprint.js";
import { paddedRank } from "../../model/serving/rank-tiles.js";
import { HeadReader } from "../../model/task/head-outputs.js";
import { lacksBias } from "../../model/task/lost-biases.js";
import type { TaskModule } from "../../model/task/target-modules.js";
import { floatsOf, storedFloats } from "../../model/task/weight-values.js";

/** One module, as it is copied into the stacks. */
export interface FoldedModule {
  readonly rank: number;
  readonly a: Float32Array | null;
  readonly b: Float32Array | null;
  /** g - 1 of each output. */
  readonly gain: Float32Array | null;
  readonly shift: Float32Array | null;
  /** A layer in the base's place: its weight in the order of the stack. */
  readonly whole: {
    readonly weight: Float32Array;
    readonly outFeatures: number;
    /** null: the base's. */
    readonly bias: Float32Array | null;
  } | null;
}

export interface FoldedAdapter {
  readonly digest: string;
  readonly modules: ReadonlyMap<TaskModule, FoldedModule>;
}

/** Reads the base's weights where gains need them; other work runs between two modules. Throws `adapter_unsupported`. */
export async function foldAdapter(adapter: HostTaskAdapter, modules: readonly TaskModule[]): Promise<FoldedAdapter> {
  const byPath = new Map(modules.map((module) => [module.path, module]));
  const folded = new Map<TaskModule, FoldedModule>();
  const norms: (readonly [TaskModule, Float32Array])[] = [];
  for (const [path, host] of adapter.modules) {
    const module = byPath.get(path);
    assert(module, "an adapter's modules are the base's");
    const into = module.foldedInto === null ? null : byPath.get(module.foldedInto);
    if (into && host.bias && module.storedBias) norms.push([into, await difference(host.bias, module.storedBias)]);
    else {
      const found = await foldModule(module, host);
      if (found.a || found.gain || found.shift || found.whole) folded.set(module, found);
    }
    if (host.magnitude) await nextTurn();
  }
  for (const [module, shift] of norms) {
    const known = folded.get(module) ?? unchanged;
    folded.set(module, { ...known, shift: known.shift ? sum(known.shift, shift) : shift });
  }
  return { digest: adapter.digest, modules: folded };
}

/** Most trained biases of some layers are the base's: those take no memory and no time. */
const nonzero = (shift: Float32Array | null): Float32Array | null =>
  shift?.some((value) => value !== 0) ? shift : null;

const unchanged: FoldedModule = { rank: 0, a: null, b: null, gain: null, shift: null, whole: null };

const sum = (left: Float32Array, right: Float32Array): Float32Array =>
  left.map((value, i) => value + (right[i] as number));

/** How a trained bias differs from the checkpoint's. */
async function difference(trained: Float32Array, stored: StoredWeight): Promise<Float32Array> {
  const base = await storedFloats(stored);
  return trained.map((value, i) => value - (base[i] as number));
}

async function foldModule(module: TaskModule, host: HostTaskModule): Promise<FoldedModule> {
  if (host.tokens) return foldTokens(module, host.tokens);
  const { foldedNorm, path } = module;
  if (foldedNorm.kind === "unknown") {
    throw unsupported(path, "may hold a batch normalization whose factor is unknown");
  }
  const factor = foldedNorm.kind === "measured" ? foldedNorm.factors : null;
  const gains = host.magnitude ? await gainsOf(module, host, factor) : null;
  const amount = (output: number): number => (factor?.[output] ?? 1) * (gains?.[output] ?? 1);
  const isScaled = factor !== null || gains !== null;
  return {
    rank: host.rank,
    a: host.a,
    b: host.b && isScaled ? scaled(module, host.b, host.rank, amount) : host.b,
    gain: gains && Float32Array.from(gains, (gain) => gain - 1),
    shift: nonzero(await shiftOf(module, host, factor)),
    whole: host.whole && {
      weight: wholeWeight(module, host.whole, factor),
      outFeatures: host.whole.outFeatures,
      bias: host.whole.bias,
    },
  };
}

/**
 * Trained rows of a table: a product whose A has a one for each of them, or where there are so many that it would take half of the table's
 * memory, a table in the base's place.
 */
async function foldTokens(
  { inFeatures: count, outFeatures: dim, uses }: TaskModule,
  tokens: HostTaskTokens,
): Promise<FoldedModule> {
  const { ids, rows } = tokens;
  const target = uses[0]?.target;
  assert(target, "a table with trained rows is used");
  const base = await floatsOf(target.weight);
  const rank = ids.length;
  if (2 * paddedRank(rank) * (count + dim) > count * dim) {
    const weight = base.slice();
    for (const [i, id] of ids.entries()) weight.set(rows.subarray(i * dim, (i + 1) * dim), id * dim);
    return { ...unchanged, whole: { weight, outFeatures: dim, bias: null } };
  }
  const a = new Float32Array(count * rank);
  for (const [i, id] of ids.entries()) a[id * rank + i] = 1;
  const b = rows.map((value, i) => value - (base[(ids[Math.floor(i / dim)] as number) * dim + (i % dim)] as number));
  return { ...unchanged, rank, a, b };
}

function unsupported(path: string, clause: string): LorikeetError {
  return new LorikeetError("adapter_unsupported", `The module ${path} ${clause}.`, { param: path });
}

/** B with each output's column or row multiplied. */
function scaled(
  { kind, outFeatures }: TaskModule,
  b: Float32Array,
  rank: number,
  amount: (output: number) => number,
): Float32Array {
  const amounts = Float64Array.from({ length: outFeatures }, (_, output) => amount(output));
  const outputOf = kind === "convolution" ? (i: number) => Math.floor(i / rank) : (i: number) => i % outFeatures;
  return b.map((value, i) => value * (amounts[outputOf(i)] as number));
}

/** m / |W + s B A| of each output, over the weight as it was trained. */
async function gainsOf(module: TaskModule, host: HostTaskModule, factor: Float32Array | null): Promise<Float64Array> {
  const { kind, outFeatures, inFeatures, groups, path } = module;
  const target = module.uses[0]?.target;
  const { a, b, rank, magnitude } = host;
  assert(target && a && b && magnitude, "a decomposed module has a product and is used");
  if (kind === "table" || groups > 1) throw unsupported(path, "cannot be weight-decomposed");
  const weight = await floatsOf(target.weight);
  const perOutput = weight.length / outFeatures;
  const isLinear = kind === "linear";
  const row = new Float64Array(perOutput);
  return Float64Array.from({ length: outFeatures }, (_, output) => {
    const unfolded = 1 / (factor?.[output] ?? 1);
    for (let i = 0; i < perOutput; i++) {
      const at = target.outFirst ? output * perOutput + i : i * outFeatures + output;
      row[i] = unfolded * (weight[at] as number);
    }
    for (let k = 0; k < rank; k++) {
      const factorB = isLinear ? (b[k * outFeatures + output] as number) : (b[output * rank + k] as number);
      for (let i = 0; i < perOutput; i++) {
        row[i] =
          (row[i] as number) + factorB * (isLinear ? (a[i * rank + k] as number) : (a[k * perOutput + i] as number));
      }
    }
    const length = Math.sqrt(row.reduce((sum, value) => sum + value * value, 0));
    if (Number.isFinite(length) && length > 0) return (magnitude[output] as number) / length;
    throw unsupported(path, `has weights without a length at output ${output}, of ${inFeatures} inputs`);
  });
}

async function shiftOf(
  { uses, path, storedBias }: TaskModule,
  { bias, addedBias }: HostTaskModule,
  factor: Float32Array | null,
): Promise<Float32Array | null> {
  if (bias === null) return addedBias?.map((value, output) => value * (factor?.[output] ?? 1)) ?? null;
  const own = uses[0]?.target.bias;
  if (factor && storedBias) {
    const change = await difference(bias, storedBias);
    return change.map((value, output) => (factor[output] as number) * (value + (addedBias?.[output] ?? 0)));
  }
  if (!own || factor) throw unsupported(path, "has no separate bias in the ONNX file, but the adapter trains one");
  const base = await floatsOf(own.values);
  return bias.map((value, output) => value - (base[output] as number) + (addedBias?.[output] ?? 0));
}

/** Whether the base adds no bias to a layer's outputs. */
const isWithoutBias = ({ graph, target }: TaskModule["uses"][number]): boolean =>
  lacksBias(target) && !new HeadReader(graph.graph).addsConstant(target.node);

/** Linear layers [in, out], others as they are; with the factor of a folded normalization. */
function wholeWeight(
  { kind, inFeatures, path, uses }: TaskModule,
  { weight, outFeatures, bias }: NonNullable<HostTaskModule["whole"]>,
  factor: Float32Array | null,
): Float32Array {
  const use = uses[0];
  if (bias && kind !== "table" && !use?.target.bias && !(use && isWithoutBias(use))) {
    throw unsupported(path, "has no separate bias in the ONNX file, but the adapter trains one");
  }
  if (kind === "table" || kind === "norm") return weight;
  if (kind === "convolution") {
    const perOutput = weight.length / outFeatures;
    return factor ? weight.map((value, i) => value * (factor[Math.floor(i / perOutput)] as number)) : weight;
  }
  const turned = new Float32Array(weight.length);
  for (let output = 0; output < outFeatures; output++) {
    for (let i = 0; i < inFeatures; i++) turned[i * outFeatures + output] = weight[output * inFeatures + i] as number;
  }
  return turned;
}
