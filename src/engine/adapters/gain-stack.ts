/**
 * What adapters in the bank have besides a product: DoRA's gains, g - 1 of each output, and the shifts of biases, a row for every place
 * of every class. Allocated with the first such adapter; the places of others are never written and never read.
 */

import type { HostAdapter } from "../../adapter/types.js";
import { assert } from "../../base/errors.js";
import { elementBytes } from "../../graph/types.js";
import { doraGain, loraShift, type ModuleGroup } from "../../model/serving/adapters.js";
import type { FloatType } from "../../model/serving/target.js";
import { cpu } from "../../runtime/device/cpu.js";
import type { DeviceRows, DeviceTensor } from "../../runtime/device/device.js";

/** Bytes that the gains of one adapter take. */
export function gainBytes(groups: readonly ModuleGroup[], type: FloatType = "float32"): number {
  return (
    elementBytes[type] *
    groups.reduce((sum, { parts }) => sum + parts.reduce((all, part) => all + part.outFeatures, 0), 0)
  );
}

export class GainStack {
  readonly #groups: readonly ModuleGroup[];
  readonly #count: number;
  #rows: DeviceRows | null = null;
  #inputs: readonly (readonly [string, DeviceTensor])[] | null = null;
  readonly #views = new Map<number, readonly (readonly [string, DeviceTensor])[]>();

  constructor(groups: readonly ModuleGroup[], rows: number) {
    this.#groups = groups;
    this.#count = rows;
  }

  /** Every layer's, [rows, out], named as the graph names its inputs. */
  inputs(): readonly (readonly [string, DeviceTensor])[] {
    const rows = this.#rows ?? this.#allocate();
    this.#inputs ??= rows.names.map((name) => [name, rows.view(name, 0, rows.count)] as const);
    return this.#inputs;
  }

  /** One row of every layer's, [1, out], for a graph in which all rows have that adapter. */
  row(row: number): readonly (readonly [string, DeviceTensor])[] {
    const known = this.#views.get(row);
    if (known) return known;
    const rows = this.#rows;
    assert(rows, "gains are read after they were written");
    const views = rows.names.map((name) => [name, rows.view(name, row, 1)] as const);
    this.#views.set(row, views);
    return views;
  }

  /** A layer that the adapter leaves alone has a gain of 1 and no shift. */
  write(row: number, adapter: HostAdapter): void {
    const rows = this.#rows ?? this.#allocate();
    for (const { parts } of this.#groups) {
      for (const { path } of parts) {
        const module = adapter.modules.get(path);
        assert(!module?.magnitude, `the magnitudes of ${path} were turned into gains`);
        fill(rows.layout(doraGain(path), "float32", row, 1), module?.gain);
        fill(rows.layout(loraShift(path), "float32", row, 1), module?.shift);
      }
    }
  }

  async copy(from: number, to: number): Promise<void> {
    await this.#rows?.copy(from, to);
  }

  /** Pages of rows that were never written cost nothing. */
  #allocate(): DeviceRows {
    const rows = cpu.rows(this.#count);
    for (const { parts } of this.#groups) {
      for (const { path, outFeatures } of parts) {
        rows.add(doraGain(path), "float32", [outFeatures]);
        rows.add(loraShift(path), "float32", [outFeatures]);
      }
    }
    this.#rows = rows;
    return rows;
  }
}

function fill(target: Float32Array, values: Float32Array | undefined): void {
  if (values) target.set(values);
  else target.fill(0);
}
