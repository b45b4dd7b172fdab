/** The stacks of adapters that a serving graph reads: for each part of each adapted module one tensor with an entry for each place. */

import { assert } from "../../base/errors.js";
import { stackNames } from "../../model/task/adapted-node.js";
import { padded, writeFilters } from "../../model/task/blocked/filters.js";
import type { BlockedConvolution, BlockPlan } from "../../model/task/blocked/plan.js";
import type { TaskModule } from "../../model/task/target-modules.js";
import { floatsOf } from "../../model/task/weight-values.js";
import { alignedFloats, Tensor } from "../../runtime/tensor.js";
import { elementCount } from "../../tensor/shape.js";
import type { FoldedAdapter, FoldedModule } from "./folded.js";
import { blockedOf, blocksOf, entriesOf, type ModulePlan, type StackPlan } from "./stack-plan.js";

export class Stacks {
  readonly plan: StackPlan;
  /** Convolutions that run in blocks; null: none. */
  readonly blocks: BlockPlan | null;
  readonly tensors: ReadonlyMap<string, Tensor<"float32">>;
  /** The modules that the adapter in each place changes. */
  readonly #changed = new Map<number, ReadonlySet<TaskModule>>();
  readonly #parts = new Map<number, ReadonlyMap<string, Tensor<"float32">>>();
  #version = 0;

  private constructor(plan: StackPlan, blocks: BlockPlan | null, tensors: ReadonlyMap<string, Tensor<"float32">>) {
    this.plan = plan;
    this.blocks = blocks;
    this.tensors = tensors;
  }

  /** Place 0 and `places` more. Reads the base's layers where adapters replace them: these stand in place 0, and in those of other adapters. */
  static async create(plan: StackPlan, places: number, blocks: BlockPlan | null = null): Promise<Stacks> {
    const entries = entriesOf(plan, blocks);
    const stacks = new Stacks(
      plan,
      blocksOf(plan, blocks),
      new Map(entries.map(({ name, shape }) => [name, alignedZeros([places + 1, ...shape])])),
    );
    for (const module of plan.values()) if (module.whole) await stacks.#fillWithBase(module, places);
    return stacks;
  }

  /** Grows with each `write`: copies of an older version are outdated. */
  get version(): number {
    return this.#version;
  }

  /** The entries of one place by themselves, sharing memory. */
  of(place: number): ReadonlyMap<string, Tensor<"float32">> {
    const known = this.#parts.get(place);
    if (known) return known;
    const parts = new Map(
      [...this.tensors].map(([name, tensor]) => {
        const entry = tensor.shape.slice(1);
        return [name, tensor.as(entry, place * elementCount(entry))];
      }),
    );
    this.#parts.set(place, parts);
    return parts;
  }

  /** Whether the adapter in a place changes one of these modules. */
  changesAny(place: number, modules: readonly TaskModule[]): boolean {
    const changed = this.#changed.get(place);
    return changed !== undefined && modules.some((module) => changed.has(module));
  }

  /** Writes an adapter into a place, over whatever was there. */
  write(place: number, { modules }: FoldedAdapter): void {
    assert(place > 0, "place 0 is the base's");
    this.#version++;
    this.#changed.set(place, new Set(modules.keys()));
    for (const plan of this.plan.values()) {
      const names = stackNames(plan.module.path);
      const folded = modules.get(plan.module);
      const { outFeatures } = plan.module;
      const rank = folded?.rank ?? 0;
      const blocked = blockedOf(plan.module, this.blocks);
      if (blocked) this.#writeBlocked(plan, blocked, place, folded);
      else {
        const isConvolution = plan.module.kind === "convolution";
        this.#copy(names.a, place, folded?.a ?? null, isConvolution ? [rank] : [null, rank]);
        this.#copy(names.b, place, folded?.b ?? null, isConvolution ? [outFeatures, rank] : [rank, outFeatures]);
      }
      this.#copy(names.gain, place, folded?.gain ?? null, [outFeatures]);
      this.#copy(names.shift, place, folded?.shift ?? null, [outFeatures]);
      if (plan.whole) this.#writeWhole(plan, place, folded?.whole ?? null);
    }
  }

  #writeBlocked(
    { module, rank, product }: ModulePlan,
    blocked: BlockedConvolution,
    place: number,
    from?: FoldedModule,
  ): void {
    if (!product || !this.blocks) return;
    const { block } = this.blocks;
    const { inFeatures, outFeatures, kernel, path } = module;
    const names = stackNames(path);
    const { inputs, outputs } = blocked;
    const ranks = padded(rank, block);
    const a = {
      block,
      outputs: ranks,
      inputs,
      splitsInputs: blocked.input === "blocked",
      window: elementCount(kernel),
    };
    const b = { block, outputs, inputs: ranks, splitsInputs: true, window: 1 };
    const [toA, toB] = [this.#entry(names.a, place).fill(0), this.#entry(names.b, place).fill(0)];
    if (from?.a) writeFilters(toA, a, from.a, { outputs: from.rank, inputs: inFeatures });
    if (from?.b) writeFilters(toB, b, from.b, { outputs: outFeatures, inputs: from.rank });
  }

  #entry(name: string, place: number): Float32Array {
    const tensor = this.tensors.get(name);
    assert(tensor, "a stack of the plan exists");
    const size = tensor.data.length / (tensor.shape[0] as number);
    return tensor.data.subarray(place * size, (place + 1) * size);
  }

  /** Copies values whose first axes have these sizes (null: the stack's own) into an entry that may be larger, then zeros. */
  #copy(name: string, place: number, values: Float32Array | null, sizes: readonly (number | null)[]): void {
    const tensor = this.tensors.get(name);
    if (!tensor) return;
    const entry = this.#entry(name, place);
    entry.fill(0);
    if (!values) return;
    const shape = tensor.shape.slice(1);
    copyInto(
      entry,
      shape,
      values,
      shape.map((size, axis) => sizes[axis] ?? size),
    );
  }

  #writeWhole(plan: ModulePlan, place: number, whole: FoldedModule["whole"]): void {
    const names = stackNames(plan.module.path);
    for (const name of [names.weight, names.bias]) this.#entry(name, place).set(this.#entry(name, 0));
    if (!whole) return;
    const { weight, outFeatures, bias } = whole;
    const isOutFirst = plan.module.kind === "convolution" || plan.module.kind === "norm";
    const sizes = isOutFirst ? [outFeatures] : [null, outFeatures];
    this.#copy(names.weight, place, weight, sizes);
    if (!bias && outFeatures === plan.module.outFeatures) return;
    // An output that a narrower layer lacks must not count after a softmax.
    const entry = this.#entry(names.bias, place).fill(Number.NEGATIVE_INFINITY).fill(0, 0, outFeatures);
    if (bias) entry.set(bias);
  }

  async #fillWithBase({ module, width }: ModulePlan, places: number): Promise<void> {
    const target = module.uses[0]?.target;
    assert(target, "a module is used");
    const { outFeatures, inFeatures, kind } = module;
    const names = stackNames(module.path);
    const weight = this.#entry(names.weight, 0);
    const values = await floatsOf(target.weight);
    if (kind === "linear" && target.outFirst) {
      for (let output = 0; output < outFeatures; output++) {
        for (let i = 0; i < inFeatures; i++) weight[i * width + output] = values[output * inFeatures + i] as number;
      }
    } else {
      const shape = (this.tensors.get(names.weight)?.shape ?? []).slice(1);
      const isOutFirst = kind === "convolution" || kind === "norm";
      const own = isOutFirst ? [outFeatures, ...shape.slice(1)] : [inFeatures, outFeatures];
      copyInto(weight, shape, values, own);
    }
    const bias = this.#entry(names.bias, 0).fill(Number.NEGATIVE_INFINITY);
    bias.fill(0, 0, outFeatures);
    if (target.bias) bias.set(await floatsOf(target.bias.values));
    for (let place = 1; place <= places; place++) this.#writeWhole(this.plan.get(module) as ModulePlan, place, null);
  }
}

/** Where kernels read fast: a lone row's adapter is read as it lies here. */
function alignedZeros(shape: readonly number[]): Tensor<"float32"> {
  return Tensor.from("float32", shape, alignedFloats(elementCount(shape)));
}

/** Copies a tensor into the corner of a larger one. */
function copyInto(to: Float32Array, shape: readonly number[], from: Float32Array, sizes: readonly number[]): void {
  // Axes after the last one that differs are copied in one piece.
  let inner = shape.length;
  while (inner > 0 && shape[inner - 1] === sizes[inner - 1]) inner--;
  const run = elementCount(sizes.slice(Math.max(inner - 1, 0)));
  const stride = elementCount(shape.slice(Math.max(inner - 1, 0)));
  const outer = sizes.slice(0, Math.max(inner - 1, 0));
  const count = elementCount(outer);
  for (let index = 0; index < count; index++) {
    let at = 0;
    let rest = index;
    let scale = 1;
    for (let axis = outer.length - 1; axis >= 0; axis--) {
      at += (rest % (outer[axis] as number)) * scale;
      rest = Math.floor(rest / (outer[axis] as number));
      scale *= shape[axis] as number;
    }
    to.set(from.subarray(index * run, (index + 1) * run), at * stride);
  }
}
