/** An adapter of a task model in host memory: float32, in the layouts that the engine stacks, all in one block. */

import { at, float32At } from "../../base/list.js";
import { elementCount } from "../../tensor/shape.js";
import { transpose } from "../../tensor/transpose.js";
import type { HostTaskModule } from "../types.js";
import { type Elements, type ModuleElements, peftLayout, type SavedElements, widen } from "./layout.js";
import type { AdapterPlan, ModulePlan, SavedPlan, StoredArray, TokenPlan } from "./module-plan.js";

/** Bytes of a module in host memory. */
export const hostTaskBytes = ({ modules, saved, tokens }: Pick<AdapterPlan, "modules" | "saved" | "tokens">): number =>
  4 *
  (modules.reduce((sum, module) => sum + adaptedElements(module), 0) +
    tokens.reduce((sum, { rows }) => sum + elementsIn(rows), 0) +
    saved.reduce((sum, { weight, bias }) => sum + elementsIn(weight) + elementsIn(bias), 0));

const elementsIn = (tensor: StoredArray | null): number => (tensor ? elementCount(tensor.shape) : 0);

function adaptedElements({ rank, inFeatures, outFeatures, kernel, extra, addedBias }: ModulePlan): number {
  const magnitudes = extra && !extra.spec.isFoldedIntoA ? elementsIn(extra) : 0;
  return rank * (inFeatures * elementCount(kernel) + outFeatures) + magnitudes + elementsIn(addedBias);
}

/** Fills one block of memory with an adapter's modules, in any order. */
export class TaskHost {
  readonly #memory: Float32Array<ArrayBuffer>;
  #used = 0;
  readonly #modules = new Map<string, HostTaskModule>();

  constructor(plan: AdapterPlan) {
    this.#memory = new Float32Array(hostTaskBytes(plan) / 4);
  }

  adapted(module: ModulePlan, elements: ModuleElements): void {
    const { path, rank, scale, extra, addedBias } = module;
    const a = peftLayout(module.a, widen(module.a.dtype, elements.a)) as Float32Array;
    const b = peftLayout(module.b, widen(module.b.dtype, elements.b)) as Float32Array;
    const values = extra && elements.extra && widen(extra.dtype, elements.extra);
    if (values && extra.spec.isFoldedIntoA) foldInto(a, values);
    const product =
      module.kind === "convolution"
        ? { a: this.#keep(a), b: this.#keep(denseProjection(module, b)) }
        : {
            a: this.#keep(transpose(a, rank, a.length / rank)),
            b: this.#keep(transpose(b, b.length / rank, rank)),
          };
    scaled(product.b, scale);
    const bias = addedBias && elements.addedBias && this.#keep(widen(addedBias.dtype, elements.addedBias));
    if (bias) scaled(bias, scale);
    this.#add(path, {
      rank,
      ...product,
      magnitude: values && !extra.spec.isFoldedIntoA ? this.#keep(values) : null,
      addedBias: bias,
    });
  }

  saved({ path, weight, bias, outFeatures, isFixed }: SavedPlan, elements: SavedElements): void {
    if (isFixed) return;
    const read = (tensor: StoredArray | null, values: Elements | null): Float32Array | null =>
      tensor && values && this.#keep(widen(tensor.dtype, values));
    const ownWeight = read(weight, elements.weight);
    const ownBias = read(bias, elements.bias);
    this.#add(path, ownWeight ? { whole: { weight: ownWeight, outFeatures, bias: ownBias } } : { bias: ownBias });
  }

  tokens({ path, ids, rows }: TokenPlan, elements: Elements): void {
    this.#add(path, { tokens: { ids, rows: this.#keep(widen(rows.dtype, elements)) } });
  }

  /** The modules by path, in the order of `plans`. */
  inOrder(plans: readonly { readonly path: string }[]): ReadonlyMap<string, HostTaskModule> {
    return new Map(plans.map(({ path }) => [path, this.#modules.get(path) ?? untouched]));
  }

  /** A module may have a product and a trained bias. */
  #add(path: string, fields: Partial<HostTaskModule>): void {
    this.#modules.set(path, { ...(this.#modules.get(path) ?? untouched), ...fields });
  }

  #keep(values: Float32Array): Float32Array {
    const kept = this.#memory.subarray(this.#used, this.#used + values.length);
    kept.set(values);
    this.#used += values.length;
    return kept;
  }
}

const untouched: HostTaskModule = {
  rank: 0,
  a: null,
  b: null,
  magnitude: null,
  addedBias: null,
  bias: null,
  whole: null,
};

/** AdaLoRA: scales each row of A [rank, in]. */
function foldInto(a: Float32Array, values: Float32Array): void {
  const columns = a.length / values.length;
  for (let i = 0; i < a.length; i++) a[i] = float32At(a, i) * float32At(values, Math.floor(i / columns));
}

function scaled(values: Float32Array, factor: number): void {
  for (let i = 0; i < values.length; i++) values[i] = float32At(values, i) * factor;
}

/** B [out, rank / groups] as [out, rank]: each group of outputs reads its own share of the ranks. */
function denseProjection({ rank, groups, outFeatures }: ModulePlan, b: Float32Array): Float32Array {
  if (groups === 1) return b;
  const ranks = rank / groups;
  const dense = new Float32Array(outFeatures * rank);
  for (let out = 0; out < outFeatures; out++) {
    const first = Math.floor(out / (outFeatures / groups)) * ranks;
    for (let k = 0; k < ranks; k++) dense[out * rank + first + k] = at(b, out * ranks + k);
  }
  return dense;
}
