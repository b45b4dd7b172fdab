/** How the rows of a batch lie in a value: what moves when one row changes is that row's. Compares values and runs nothing. */

import { valueAt } from "../../base/list.js";
import type { RowLayout } from "../../model/task/adapted-node.js";
import { takesProduct, type WeightedNode } from "../../model/task/weighted-nodes.js";
import type { Tensor } from "../../runtime/tensor.js";
import { sameShape } from "../../tensor/shape.js";
import type { Values } from "./probed-graph.js";

/** How a layer's rows are found, or a clause that says why they cannot be. */
export type FoundLayout = RowLayout | { readonly refusal: string };

/** What a graph computes for the same rows in several runs. */
export interface RowRuns {
  /** Of all rows. */
  readonly base: Values;
  /** Of all rows but one. */
  readonly fewer: Values;
  /** Of all rows, one of them with other inputs: an entry for each row. */
  readonly changed: readonly Values[];
}

/** The value in which a layer's rows must be told apart: its input, or what a normalization or a bias gives. */
export const valueWithRows = ({ kind, node }: WeightedNode): string =>
  (!takesProduct(kind) ? node.outputs[0] : node.inputs[kind === "table" ? 1 : 0])?.name ?? "";

export function layoutOf(target: WeightedNode, runs: RowRuns): FoundLayout {
  const name = valueWithRows(target);
  if (!runs.base.has(name)) return target.kind === "convolution" ? { refusal: "its input is a constant" } : "uniform";
  const value = new ProbedValue(name, runs);
  const { shape } = value;
  if (!takesProduct(target.kind) && !isAlongOutputs(target, shape))
    return { refusal: `its ${target.kind === "norm" ? "weight" : "bias"} lies along another axis` };
  if (target.kind === "convolution" || target.channels) {
    if (value.isOneEntryPerRow) return "first";
    if (!takesProduct(target.kind)) return "uniform";
    return { refusal: "the rows of its input are not those of the batch" };
  }
  const found = value.layout(target.kind === "table" ? 1 : target.inFeatures);
  const lacksAxisOfOne = found === "shared" && (shape.length < 2 || shape[0] !== 1);
  return found === null || lacksAxisOfOne ? "uniform" : found;
}

/** Whether the first axis of a value has one entry for each row, in order. A weight, which no run gives, has none. */
export const hasEntryPerRow = (name: string, runs: RowRuns): boolean =>
  runs.base.has(name) && new ProbedValue(name, runs).isOneEntryPerRow;

/** Whether a bias lies along the axis of the outputs that its operator's form suggests. */
function isAlongOutputs({ outFeatures, channels }: WeightedNode, shape: readonly number[]): boolean {
  if (!channels) return shape.at(-1) === outFeatures;
  const { after } = channels;
  return shape[1] === outFeatures && (after === null || shape.length === after + 2);
}

/** One value in all runs. */
class ProbedValue {
  readonly #base: Tensor;
  readonly #fewer: Tensor;
  readonly #changed: readonly Tensor[];

  constructor(name: string, { base, fewer, changed }: RowRuns) {
    this.#base = valueAt(base, name);
    this.#fewer = valueAt(fewer, name);
    this.#changed = changed.map((run) => valueAt(run, name));
  }

  get shape(): readonly number[] {
    return this.#base.shape;
  }

  get isOneEntryPerRow(): boolean {
    const { data, shape } = this.#base;
    const rows = this.#changed.length;
    return shape[0] === rows && this.layout(data.length / rows) === "first";
  }

  /** `width`: elements that belong together. null: rows lie in no known way. */
  layout(width: number): RowLayout | null {
    const { data, shape } = this.#base;
    const rows = this.#changed.length;
    const count = data.length / width;
    if (this.#changed.some((other) => other.data.length !== data.length)) return null;
    if (sameShape(shape, this.#fewer.shape)) {
      return this.#owners(width).every((owner) => owner === null) ? "shared" : null;
    }
    if (count % rows !== 0) return null;
    const owners = this.#owners(width);
    if (owners.includes("several")) return null;
    const fits = (rowAt: (position: number) => number): boolean =>
      owners.every((owner, position) => owner === null || owner === rowAt(position));
    const isFirst = fits((position) => Math.floor((position * rows) / count));
    const isSecond = shape[1] === rows && this.#fewer.shape[1] === rows - 1 && fits((position) => position % rows);
    // What no row changes still has an axis that counts them.
    if (isFirst && shape[0] !== this.#fewer.shape[0]) return "first";
    return isSecond && shape.length >= 3 ? "second" : null;
  }

  /** The row that changes each position; null: none does. */
  #owners(width: number): (number | "several" | null)[] {
    const count = this.#base.data.length / width;
    return Array.from({ length: count }, (_, position) => {
      let owner: number | "several" | null = null;
      for (const [row, other] of this.#changed.entries()) {
        if (!differs(this.#base, other, position * width, width)) continue;
        owner = owner === null ? row : "several";
      }
      return owner;
    });
  }
}

function differs({ data }: Tensor, { data: other }: Tensor, begin: number, count: number): boolean {
  for (let i = begin; i < begin + count; i++) if (data[i] !== other[i]) return true;
  return false;
}
