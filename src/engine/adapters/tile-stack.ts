/**
 * Adapters side by side in one stack for each A and B of the groups, tile by tile, as `stacked-adapters` cuts them. Whose tiles are
 * where is the caller's business.
 */
import type { HostAdapter, HostModule } from "../../adapter/types.js";
import { at, float32At } from "../../base/list.js";
import { elementBytes } from "../../graph/types.js";
import type { ModuleGroup } from "../../model/serving/adapters.js";
import { groupOutputs, stackedA, stackedB, tileRanks, tileShapes } from "../../model/serving/stacked-adapters.js";
import type { FloatType } from "../../model/serving/target.js";
import type { Device, DeviceRows, DeviceTensor } from "../../runtime/device/device.js";
import { elementCount } from "../../tensor/shape.js";
import { narrowInto, sliceElements, widen } from "./slices.js";

/** Bytes of one tile of all target modules. */
export function tileBytes(groups: readonly ModuleGroup[], type: FloatType = "float32"): number {
  const elements = groups.reduce((sum, group) => {
    const { a, b } = tileShapes(group);
    return sum + elementCount(a) + elementCount(b);
  }, 0);
  return elementBytes[type] * elements;
}

type Views = readonly (readonly [string, DeviceTensor])[];
type Pause = () => Promise<void>;

export class TileStack {
  readonly tiles: number;
  readonly #groups: readonly ModuleGroup[];
  readonly #type: FloatType;
  readonly #device: Device;
  readonly #rows: DeviceRows;
  readonly #views = new Map<number, Views>();

  private constructor(groups: readonly ModuleGroup[], tiles: number, type: FloatType, device: Device) {
    this.tiles = tiles;
    this.#groups = groups;
    this.#type = type;
    this.#device = device;
    this.#rows = device.rows(tiles);
  }

  /** Takes turns of the device. Throws `device_memory`. */
  static async create(
    groups: readonly ModuleGroup[],
    tiles: number,
    type: FloatType,
    device: Device,
  ): Promise<TileStack> {
    const stack = new TileStack(groups, tiles, type, device);
    try {
      for (const group of groups) {
        const { a, b } = tileShapes(group);
        await device.turn(async () => {
          stack.#rows.add(stackedA(group.key), type, a);
          stack.#rows.add(stackedB(group.key), type, b);
        });
      }
    } catch (error) {
      await device.turn(async () => stack[Symbol.dispose]());
      throw error;
    }
    return stack;
  }

  /** The first `tiles` of every stack, named as the graph names its inputs. */
  prefix(tiles: number): Views {
    const known = this.#views.get(tiles);
    if (known) return known;
    const views = this.#rows.names.map((name) => [name, this.#rows.view(name, 0, tiles)] as const);
    this.#views.set(tiles, views);
    return views;
  }

  /** Takes over the tiles of a shorter stack of the same groups, on the device. In a turn. */
  async copyFrom(shorter: TileStack): Promise<void> {
    const views = this.prefix(shorter.tiles);
    await this.#device.upload(shorter.prefix(shorter.tiles).map(([, from], i) => [from, at(views, i)[1]] as const));
  }

  /** Writes an adapter to tiles [first, first + count), zeros after its own ranks. Takes a turn of the device. */
  async write(first: number, count: number, adapter: HostAdapter, pause: Pause): Promise<void> {
    for (const group of this.#groups) {
      const { a, b } = tileShapes(group);
      await this.#fill(stackedA(group.key), first, count, a, (target) => fillA(target, group, adapter, pause));
      await this.#fill(stackedB(group.key), first, count, b, (target) => fillB(target, group, adapter, pause));
    }
    await this.#device.turn(() => this.#rows.write(first, count));
  }

  /** Lays out tiles [first, first + count) of a stack. `fill` finds zeros. */
  async #fill(
    name: string,
    first: number,
    count: number,
    tile: readonly number[],
    fill: (target: Float32Array) => Promise<void>,
  ): Promise<void> {
    if (this.#type === "float32") return await fill(this.#rows.layout(name, "float32", first, count).fill(0));
    const values = new Float32Array(count * elementCount(tile));
    await fill(values);
    narrowInto(this.#rows.layout(name, "float16", first, count), values);
  }

  /** In a turn. */
  [Symbol.dispose](): void {
    for (const views of this.#views.values()) for (const [, view] of views) view[Symbol.dispose]();
    this.#views.clear();
    this.#rows[Symbol.dispose]();
  }
}

/** From A [in, own rank] of each part to [tiles, parts, in, tileRanks]. */
async function fillA(target: Float32Array, group: ModuleGroup, adapter: HostAdapter, pause: Pause): Promise<void> {
  const { inFeatures, parts } = group;
  for (const [part, { path }] of parts.entries()) {
    const module = adapter.modules.get(path);
    if (!module) continue;
    const { rank } = module;
    const band = Math.max(1, Math.floor(sliceElements / rank));
    for (let start = 0; start < inFeatures; start += band) {
      const end = Math.min(inFeatures, start + band);
      const source = widen(module, module.a, start * rank, end * rank);
      for (let first = 0; first < rank; first += tileRanks) {
        const count = Math.min(tileRanks, rank - first);
        let to = (((first / tileRanks) * parts.length + part) * inFeatures + start) * tileRanks;
        for (let from = first; from < source.length; from += rank, to += tileRanks) {
          for (let k = 0; k < count; k++) target[to + k] = float32At(source, from + k);
        }
      }
      await pause();
    }
  }
}

/** From B [own rank, out] of each part, times the scale that is still open, to [tiles, parts, tileRanks, out of all parts]. */
async function fillB(target: Float32Array, group: ModuleGroup, adapter: HostAdapter, pause: Pause): Promise<void> {
  const { parts } = group;
  const width = groupOutputs(group);
  let column = 0;
  for (const [part, { path, outFeatures }] of parts.entries()) {
    const module = adapter.modules.get(path);
    for (let rank = 0; rank < (module?.rank ?? 0); rank++) {
      const tile = Math.floor(rank / tileRanks);
      const row = (tile * parts.length + part) * tileRanks + (rank % tileRanks);
      copyScaled(target.subarray(row * width + column, row * width + column + outFeatures), module as HostModule, rank);
      await pause();
    }
    column += outFeatures;
  }
}

/** One row of B. */
function copyScaled(target: Float32Array, module: HostModule, rank: number): void {
  const source = widen(module, module.b, rank * target.length, (rank + 1) * target.length);
  if (module.scale === 1) target.set(source);
  else for (let i = 0; i < source.length; i++) target[i] = float32At(source, i) * module.scale;
}
