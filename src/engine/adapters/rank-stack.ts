/**
 * Adapters side by side in one stack for each A and B, rank by rank: A transposed, [ranks, in], and B, [ranks, out]. Whose ranks are
 * where is the caller's business.
 */
import type { HostAdapter, HostModule } from "../../adapter/types.js";
import { float32At } from "../../base/list.js";
import { elementBytes } from "../../graph/types.js";
import type { ModuleGroup } from "../../model/serving/adapters.js";
import { stackedA, stackedB } from "../../model/serving/stacked-adapters.js";
import type { FloatType } from "../../model/serving/target.js";
import type { Device, DeviceRows, DeviceTensor } from "../../runtime/device/device.js";
import { narrowInto, sliceElements, widen } from "./slices.js";

/** Bytes of one rank of all target modules. */
export function rankBytes(groups: readonly ModuleGroup[], type: FloatType = "float32"): number {
  const ofGroup = ({ inFeatures, parts }: ModuleGroup): number =>
    parts.reduce((sum, { outFeatures }) => sum + inFeatures + outFeatures, 0);
  return elementBytes[type] * groups.reduce((sum, group) => sum + ofGroup(group), 0);
}

type Views = readonly (readonly [string, DeviceTensor])[];

export class RankStack {
  readonly ranks: number;
  readonly #groups: readonly ModuleGroup[];
  readonly #type: FloatType;
  readonly #device: Device;
  readonly #rows: DeviceRows;
  readonly #views = new Map<number, Views>();

  private constructor(groups: readonly ModuleGroup[], ranks: number, type: FloatType, device: Device) {
    this.ranks = ranks;
    this.#groups = groups;
    this.#type = type;
    this.#device = device;
    this.#rows = device.rows(ranks);
  }

  /** Takes turns of the device. Throws `device_memory`. */
  static async create(
    groups: readonly ModuleGroup[],
    ranks: number,
    type: FloatType,
    device: Device,
  ): Promise<RankStack> {
    const stack = new RankStack(groups, ranks, type, device);
    try {
      for (const { parts, inFeatures } of groups) {
        await device.turn(async () => {
          for (const { path, outFeatures } of parts) {
            stack.#rows.add(stackedA(path), type, [inFeatures]);
            stack.#rows.add(stackedB(path), type, [outFeatures]);
          }
        });
      }
    } catch (error) {
      await device.turn(async () => stack[Symbol.dispose]());
      throw error;
    }
    return stack;
  }

  /** The first `ranks` of every stack, named as the graph names its inputs. */
  prefix(ranks: number): Views {
    const known = this.#views.get(ranks);
    if (known) return known;
    const views = this.#rows.names.map((name) => [name, this.#rows.view(name, 0, ranks)] as const);
    this.#views.set(ranks, views);
    return views;
  }

  /** Writes an adapter to ranks [first, first + count), zeros behind its own. Takes a turn of the device. */
  async write(first: number, count: number, adapter: HostAdapter, pause: () => Promise<void>): Promise<void> {
    for (const { parts, inFeatures } of this.#groups) {
      for (const { path, outFeatures } of parts) {
        const module = adapter.modules.get(path);
        await this.#fill(stackedA(path), [first, count], (a) => fillA(a, module, inFeatures, pause), inFeatures);
        await this.#fill(stackedB(path), [first, count], (b) => fillB(b, module, outFeatures, pause), outFeatures);
      }
    }
    await this.#device.turn(() => this.#rows.write(first, count));
  }

  /** Lays out ranks [first, first + count) of a tensor whose rows have `width` numbers. */
  async #fill(
    name: string,
    [first, count]: readonly [number, number],
    fill: (target: Float32Array) => Promise<void>,
    width: number,
  ): Promise<void> {
    if (this.#type === "float32") return await fill(this.#rows.layout(name, "float32", first, count));
    const values = new Float32Array(count * width);
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

/** A [in, own rank], transposed. */
async function fillA(
  target: Float32Array,
  module: HostModule | undefined,
  inFeatures: number,
  pause: () => Promise<void>,
): Promise<void> {
  const own = module?.rank ?? 0;
  target.fill(0, own * inFeatures);
  if (!module) return;
  const band = Math.max(1, Math.floor(sliceElements / own));
  for (let first = 0; first < inFeatures; first += band) {
    const end = Math.min(inFeatures, first + band);
    const source = widen(module, module.a, first * own, end * own);
    for (let rank = 0; rank < own; rank++) {
      for (let i = first; i < end; i++) target[rank * inFeatures + i] = float32At(source, (i - first) * own + rank);
    }
    await pause();
  }
}

/** B [own rank, out]; the scale that is still open is applied. */
async function fillB(
  target: Float32Array,
  module: HostModule | undefined,
  outFeatures: number,
  pause: () => Promise<void>,
): Promise<void> {
  const own = (module?.rank ?? 0) * outFeatures;
  target.fill(0, own);
  if (!module) return;
  for (let first = 0; first < own; first += sliceElements) {
    const source = widen(module, module.b, first, Math.min(own, first + sliceElements));
    if (module.scale === 1) target.set(source, first);
    else for (let i = 0; i < source.length; i++) target[first + i] = float32At(source, i) * module.scale;
    await pause();
  }
}
