/**
 * DoRA's gains of the adapters in the bank: g - 1 of each output, a row for every place of every class. Allocated with the first such
 * adapter; the places of others are never written and never read.
 */

import type { HostAdapter } from "../../adapter/types.js";
import { assert } from "../../base/errors.js";
import { last } from "../../base/list.js";
import { doraGain, type ModuleGroup } from "../../model/serving/adapters.js";
import { Tensor } from "../../runtime/tensor.js";

/** Bytes that the gains of one adapter take. */
export function gainBytes(groups: readonly ModuleGroup[]): number {
  return 4 * groups.reduce((sum, { parts }) => sum + parts.reduce((all, part) => all + part.outFeatures, 0), 0);
}

export class GainStack {
  readonly #groups: readonly ModuleGroup[];
  readonly #rows: number;
  #tensors: ReadonlyMap<string, Tensor<"float32">> | null = null;
  readonly #views = new Map<number, readonly (readonly [string, Tensor<"float32">])[]>();

  constructor(groups: readonly ModuleGroup[], rows: number) {
    this.#groups = groups;
    this.#rows = rows;
  }

  /** By module path, [rows, out]. Pages of rows that were never written cost nothing. */
  get #byPath(): ReadonlyMap<string, Tensor<"float32">> {
    this.#tensors ??= new Map(
      this.#groups.flatMap(({ parts }) =>
        parts.map(({ path, outFeatures }) => [path, Tensor.zeros("float32", [this.#rows, outFeatures])] as const),
      ),
    );
    return this.#tensors;
  }

  /** Every layer's, named as the graph names its inputs. */
  *inputs(): IterableIterator<readonly [string, Tensor<"float32">]> {
    for (const [path, tensor] of this.#byPath) yield [doraGain(path), tensor];
  }

  /** One row of every layer's, [1, out], for a graph in which all rows have that adapter. */
  row(row: number): readonly (readonly [string, Tensor<"float32">])[] {
    const known = this.#views.get(row);
    if (known) return known;
    const views = [...this.inputs()].map(([name, tensor]) => [name, tensor.rows(row, 1)] as const);
    this.#views.set(row, views);
    return views;
  }

  /** A layer that the adapter leaves alone has a gain of 1. */
  write(row: number, adapter: HostAdapter): void {
    for (const [path, tensor] of this.#byPath) {
      const module = adapter.modules.get(path);
      assert(!module || module.gain, `the magnitudes of ${path} were turned into gains`);
      const target = rowOf(tensor, row);
      if (module?.gain) target.set(module.gain);
      else target.fill(0);
    }
  }

  copy(from: number, to: number): void {
    for (const tensor of this.#byPath.values()) rowOf(tensor, to).set(rowOf(tensor, from));
  }
}

function rowOf({ data, shape }: Tensor<"float32">, row: number): Float32Array {
  const width = last(shape);
  return data.subarray(row * width, (row + 1) * width);
}
