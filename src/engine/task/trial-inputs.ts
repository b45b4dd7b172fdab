/** Inputs to try a model with: plausible numbers, a set of them for each row. */

import type { ElementType, Graph, Value } from "../../graph/types.js";
import { findWeightedNodes } from "../../model/task/weighted-nodes.js";
import { Tensor } from "../../runtime/tensor.js";

export class TrialInputs {
  readonly #inputs: readonly Value[];
  /** Entries of the tables that an input of ids is looked up in. */
  readonly #entries: ReadonlyMap<string, number>;
  /** Stands for sizes that a file only names, of inputs of integers and of others. */
  readonly #sizes: { readonly ids: number; readonly others: number };

  constructor(graph: Graph, sizes: { readonly ids: number; readonly others: number }) {
    this.#inputs = graph.inputs;
    this.#sizes = sizes;
    this.#entries = tableEntries(graph);
  }

  /** `seeds`: one for each row. */
  of(seeds: readonly number[]): Map<string, Tensor> {
    return new Map(this.#inputs.map((value) => [value.name, this.#tensor(value, seeds)]));
  }

  #tensor({ name, type, shape }: Value, seeds: readonly number[]): Tensor {
    const isInteger = type.startsWith("int") || type.startsWith("uint");
    const named = isInteger ? this.#sizes.ids : this.#sizes.others;
    const sizes = shape.map((size, axis) => (typeof size === "number" ? size : axis === 0 ? seeds.length : named));
    const tensor = Tensor.zeros(type, sizes);
    const rows = typeof shape[0] === "number" || shape.length === 0 ? 1 : seeds.length;
    const perRow = tensor.data.length / rows;
    const entries = this.#entries.get(name);
    for (let row = 0; row < rows; row++) {
      for (let i = 0; i < perRow; i++) {
        const value = valueAt(type, entries, seeds[row] ?? 0, i);
        const { data } = tensor;
        if (data instanceof BigInt64Array) data[row * perRow + i] = BigInt(value);
        else data[row * perRow + i] = value;
      }
    }
    return tensor;
  }
}

/** By name of an input or value: the entries of the smallest table that it is looked up in. */
export function tableEntries(graph: Graph): Map<string, number> {
  const entries = new Map<string, number>();
  for (const { kind, node, inFeatures } of findWeightedNodes(graph)) {
    const ids = kind === "table" ? node.inputs[1]?.name : undefined;
    if (ids !== undefined) entries.set(ids, Math.min(entries.get(ids) ?? inFeatures, inFeatures));
  }
  return entries;
}

/** Integers that are not looked up are ones: masks that hide nothing. */
function valueAt(type: ElementType, entries: number | undefined, seed: number, index: number): number {
  if (entries !== undefined) return 1 + ((seed * 31 + index * 7 + 2) % Math.max(1, entries - 2));
  if (type === "float32" || type === "float64") return Math.sin(1 + seed * 100 + index);
  if (type === "float16") return 0x3800 + ((seed * 37 + index * 11) % 512); // 0.5 to 0.75
  return 1;
}
