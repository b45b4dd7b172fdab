/**
 * What multiplies each output of the base for adapters side by side: DoRA's g, and ones for rows without it. Allocated with the first
 * such adapter.
 */
import type { HostAdapter } from "../../adapter/types.js";
import type { ModuleGroup } from "../../model/serving/adapters.js";
import { stackedGain } from "../../model/serving/stacked-adapters.js";
import type { FloatType } from "../../model/serving/target.js";
import type { Device, DeviceRows, DeviceTensor } from "../../runtime/device/device.js";
import { narrowInto } from "./slices.js";

/** As typed arrays hold it. */
const one: Readonly<Record<FloatType, number>> = { float32: 1, float16: 0x3c00 };

export class StackedGains implements Disposable {
  readonly #groups: readonly ModuleGroup[];
  readonly #places: number;
  readonly #type: FloatType;
  readonly #device: Device;
  #rows: DeviceRows | null = null;
  #inputs: readonly (readonly [string, DeviceTensor])[] = [];
  /** Places whose gains are not all ones. */
  readonly #gained = new Set<number>();

  constructor(groups: readonly ModuleGroup[], places: number, type: FloatType, device: Device) {
    this.#groups = groups;
    this.#places = places;
    this.#type = type;
    this.#device = device;
  }

  /** Every layer's, [1 + places, out], named as the graph names its inputs. The first row is that of no adapter. */
  inputs(): readonly (readonly [string, DeviceTensor])[] {
    return this.#inputs;
  }

  /** Of an adapter that is about to be in this place. Takes turns of the device. */
  async write(place: number, adapter: HostAdapter): Promise<void> {
    if (!adapter.hasGains && !this.#gained.has(place)) return;
    const rows = this.#rows ?? (await this.#allocate());
    for (const { path, outFeatures } of this.#parts()) {
      const gain = adapter.modules.get(path)?.gain; // less one
      this.#lay(
        rows,
        path,
        1 + place,
        Float32Array.from({ length: outFeatures }, (_, i) => 1 + (gain?.[i] ?? 0)),
      );
    }
    await this.#device.turn(() => rows.write(1 + place, 1));
    if (adapter.hasGains) this.#gained.add(place);
    else this.#gained.delete(place);
  }

  #lay(rows: DeviceRows, path: string, row: number, values: Float32Array): void {
    if (this.#type === "float32") rows.layout(stackedGain(path), "float32", row, 1).set(values);
    else narrowInto(rows.layout(stackedGain(path), "float16", row, 1), values);
  }

  *#parts() {
    for (const { parts } of this.#groups) yield* parts;
  }

  async #allocate(): Promise<DeviceRows> {
    const count = 1 + this.#places;
    const rows = this.#device.rows(count);
    await this.#device.turn(async () => {
      for (const { path, outFeatures } of this.#parts()) rows.add(stackedGain(path), this.#type, [outFeatures]);
      for (const { path } of this.#parts())
        rows.layout(stackedGain(path), this.#type, 0, count).fill(one[this.#type] as never);
      await rows.write(0, count);
    });
    this.#inputs = rows.names.map((name) => [name, rows.view(name, 0, count)] as const);
    this.#rows = rows;
    return rows;
  }

  /** In a turn. */
  [Symbol.dispose](): void {
    for (const [, view] of this.#inputs) view[Symbol.dispose]();
    this.#inputs = [];
    this.#rows?.[Symbol.dispose]();
    this.#rows = null;
  }
}
