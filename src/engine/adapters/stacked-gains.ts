/**
 * What multiplies each output of the base for adapters side by side: DoRA's g, and ones for rows without it. Allocated with the first
 * such adapter.
 */
import type { HostAdapter } from "../../adapter/types.js";
import type { ModuleGroup } from "../../model/serving/adapters.js";
import { groupOutputs, stackedGain } from "../../model/serving/stacked-adapters.js";
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

  /** Every group's, [1 + places, out of all parts], named as the graph names its inputs. The first row is that of no adapter. */
  inputs(): readonly (readonly [string, DeviceTensor])[] {
    return this.#inputs;
  }

  /** Of an adapter that is about to be in this place. Takes turns of the device. */
  async write(place: number, adapter: HostAdapter): Promise<void> {
    if (!adapter.hasGains && !this.#gained.has(place)) return;
    const rows = this.#rows ?? (await this.#allocate());
    for (const group of this.#groups) {
      const gains = new Float32Array(groupOutputs(group)).fill(1);
      let column = 0;
      for (const { path, outFeatures } of group.parts) {
        const less = adapter.modules.get(path)?.gain; // less one
        for (let i = 0; less && i < outFeatures; i++) gains[column + i] = 1 + (less[i] ?? 0);
        column += outFeatures;
      }
      this.#lay(rows, group.key, 1 + place, gains);
    }
    await this.#device.turn(() => rows.write(1 + place, 1));
    if (adapter.hasGains) this.#gained.add(place);
    else this.#gained.delete(place);
  }

  #lay(rows: DeviceRows, key: string, row: number, values: Float32Array): void {
    if (this.#type === "float32") rows.layout(stackedGain(key), "float32", row, 1).set(values);
    else narrowInto(rows.layout(stackedGain(key), "float16", row, 1), values);
  }

  async #allocate(): Promise<DeviceRows> {
    const count = 1 + this.#places;
    const rows = this.#device.rows(count);
    await this.#device.turn(async () => {
      for (const group of this.#groups) rows.add(stackedGain(group.key), this.#type, [groupOutputs(group)]);
      for (const { key } of this.#groups) {
        rows.layout(stackedGain(key), this.#type, 0, count).fill(one[this.#type] as never);
      }
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
