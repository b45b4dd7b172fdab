/** Inputs to try a model with: plausible numbers, a set of them for each row. */

import type { ElementType, Graph, Value } from "../../graph/types.js";
import { findWeightedNodes } from "../../model/task/weighted-nodes.js";
import { Tensor } from "../../runtime/tensor.js";
import { elementCount } from "../../tensor/shape.js";

/** Inputs for rows, of which each seed gives another. */
export interface Trial {
  of(seeds: readonly number[]): Map<string, Tensor>;
  /** With texts of another length, which may be more than the model takes. Default: there is no other. */
  readonly longer?: Trial | null;
}

/** A multiple of what cards compute at once, as the usual length is not. */
const longerTokens = 40;

/** Of an input: more than any picture or text, and little memory for a few rows. */
const maxElements = 2 ** 26;

/** Stands for the sizes that a file only names. */
export interface TrialSizes {
  /** Of axes of ids and masks. */
  readonly ids: number;
  /** Of images, and of the first axes of other values. */
  readonly height: number;
  readonly width: number;
}

export class TrialInputs implements Trial {
  readonly #inputs: readonly Value[];
  /** Entries of the tables that an input of ids is looked up in. */
  readonly #entries: ReadonlyMap<string, number>;
  /** By name of an input or of an axis. */
  readonly #channels = new Map<string, number>();
  readonly #named = new Map<string, number>();
  readonly #sizes: TrialSizes;
  readonly longer: Trial | null;

  constructor(graph: Graph, sizes: TrialSizes) {
    this.#inputs = graph.inputs;
    this.#sizes = sizes;
    this.#entries = tableEntries(graph);
    for (const { kind, node, inFeatures } of findWeightedNodes(graph)) {
      if (kind === "convolution") this.#channels.set(node.inputs[0]?.name ?? "", inFeatures);
    }
    // An axis of an image may have the same name in its mask.
    for (const value of graph.inputs) {
      if (!isImage(value)) continue;
      for (const [axis, name] of value.shape.entries()) {
        if (typeof name === "string" && axis > 0) this.#named.set(name, this.#imageSize(value, axis));
      }
    }
    const isText = ({ type, shape }: Value): boolean =>
      isInteger(type) &&
      shape.length < 3 &&
      shape.slice(1).some((size) => typeof size === "string" && !this.#named.has(size));
    this.longer =
      sizes.ids < longerTokens && graph.inputs.some(isText)
        ? new TrialInputs(graph, { ...sizes, ids: longerTokens })
        : null;
  }

  /** Whether a row of them takes no more memory than a trial may. */
  get fits(): boolean {
    return this.#inputs.every((value) => elementCount(this.#shapeOf(value, 1)) <= maxElements);
  }

  /** `seeds`: one for each row. */
  of(seeds: readonly number[]): Map<string, Tensor> {
    return new Map(this.#inputs.map((value) => [value.name, this.#tensor(value, seeds)]));
  }

  #imageSize({ name, shape }: Value, axis: number): number {
    if (axis === 1 && shape.length === 4) return this.#channels.get(name) ?? 3;
    return axis === shape.length - 1 ? this.#sizes.width : this.#sizes.height;
  }

  #sizeOf({ type, shape }: Value, axis: number): number {
    const size = shape[axis];
    if (typeof size === "number") return size;
    const known = this.#named.get(size ?? "");
    if (known !== undefined) return known;
    return isInteger(type) && shape.length < 3 ? this.#sizes.ids : this.#sizes.height;
  }

  #shapeOf(value: Value, rows: number): number[] {
    return value.shape.map((size, axis) => (axis === 0 && typeof size === "string" ? rows : this.#sizeOf(value, axis)));
  }

  #tensor(value: Value, seeds: readonly number[]): Tensor {
    const { name, type, shape } = value;
    const tensor = Tensor.zeros(type, this.#shapeOf(value, seeds.length));
    const rows = typeof shape[0] === "number" || shape.length === 0 ? 1 : seeds.length;
    const perRow = tensor.data.length / rows;
    const entries = this.#entries.get(name);
    for (let row = 0; row < rows; row++) {
      for (let i = 0; i < perRow; i++) {
        const number = valueAt(value, entries, seeds[row] ?? 0, i);
        const { data } = tensor;
        if (data instanceof BigInt64Array) data[row * perRow + i] = BigInt(number);
        else data[row * perRow + i] = number;
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

const isInteger = (type: ElementType): boolean => type.startsWith("int") || type.startsWith("uint");

/** Masks of images have three axes and ones. */
const isImage = ({ type, shape }: Value): boolean => shape.length >= 3 && (type !== "int64" || shape.length > 3);

/** Integers that are neither looked up nor pictures are ones: masks that hide nothing. */
function valueAt(value: Value, entries: number | undefined, seed: number, index: number): number {
  const { type } = value;
  if (entries !== undefined) return 1 + ((seed * 31 + index * 7 + 2) % Math.max(1, entries - 2));
  if (type === "float32" || type === "float64") return Math.sin(1 + seed * 100 + index);
  if (type === "float16") return 0x3800 + ((seed * 37 + index * 11) % 512); // 0.5 to 0.75
  return isInteger(type) && isImage(value) ? (seed * 31 + index * 7) % 100 : 1;
}
