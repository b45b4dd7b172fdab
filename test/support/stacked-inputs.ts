/** Inputs of serving graphs that take adapters as stacks, filled from adapters as they are held in host memory. */
import type { HostAdapter, HostModule } from "../../src/adapter/types.js";
import { at, float32At } from "../../src/base/list.js";
import type { ModuleGroup } from "../../src/model/serving/adapters.js";
import {
  stackedA,
  stackedB,
  stackedGain,
  stackedInputs,
  tileRanks,
  tileShapes,
} from "../../src/model/serving/stacked-adapters.js";
import { Tensor } from "../../src/runtime/tensor.js";
import { bfloat16ToFloat32, float16ToFloat32 } from "../../src/tensor/half.js";

type Inputs = Record<string, Tensor>;

export interface Stack {
  /** The place of each token's adapter, -1 for none. */
  masked(places: readonly number[]): Inputs;
  picked(place: number): Inputs;
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
const ints = (shape: readonly number[], values: readonly number[]): Tensor =>
  Tensor.from("int32", shape, Int32Array.from(values));

/** Place i has adapter i, in as many tiles as its rank needs. */
export function stackOf(
  { groups, hasGains }: { readonly groups: readonly ModuleGroup[]; readonly hasGains: boolean },
  adapters: readonly HostAdapter[],
): Stack {
  const tiles = adapters.map(({ rank }) => Math.ceil(rank / tileRanks));
  const stacks: Inputs = Object.assign({}, ...groups.map((group) => stacksOf(group, adapters, tiles, hasGains)));
  return {
    masked: (places) => ({
      ...stacks,
      [stackedInputs.places]: ints([places.length, 1], places),
      [stackedInputs.tilePlaces]: ints(
        [sum(tiles)],
        tiles.flatMap((count, place) => Array<number>(count).fill(place)),
      ),
    }),
    picked: (place) => {
      const first = sum(tiles.slice(0, place));
      const own = Array.from({ length: at(tiles, place) }, (_, i) => first + i);
      return { ...stacks, [stackedInputs.tiles]: ints([own.length], own), [stackedInputs.place]: ints([], [place]) };
    },
  };
}

function stacksOf(
  group: ModuleGroup,
  adapters: readonly HostAdapter[],
  tiles: readonly number[],
  hasGains: boolean,
): Inputs {
  const { key, parts, inFeatures } = group;
  const shapes = tileShapes(group);
  const outFeatures = sum(parts.map((part) => part.outFeatures));
  const a = Tensor.zeros("float32", [sum(tiles), ...shapes.a]);
  const b = Tensor.zeros("float32", [sum(tiles), ...shapes.b]);
  const gains = Tensor.zeros("float32", [1 + adapters.length, outFeatures]);
  gains.data.fill(1);
  for (const [place, adapter] of adapters.entries()) {
    const first = sum(tiles.slice(0, place));
    for (const [p, part] of parts.entries()) {
      const module = adapter.modules.get(part.path);
      if (!module) continue;
      const column = sum(parts.slice(0, p).map((before) => before.outFeatures));
      const [ownA, ownB] = [widened(module, module.a), widened(module, module.b)]; // [in, rank], [rank, out]
      for (let k = 0; k < module.rank; k++) {
        const tile = first + Math.floor(k / tileRanks);
        const j = k % tileRanks;
        for (let i = 0; i < inFeatures; i++) {
          a.data[((tile * parts.length + p) * inFeatures + i) * tileRanks + j] = float32At(ownA, i * module.rank + k);
        }
        for (let o = 0; o < part.outFeatures; o++) {
          const row = (tile * parts.length + p) * tileRanks + j;
          b.data[row * outFeatures + column + o] = float32At(ownB, k * part.outFeatures + o) * module.scale;
        }
      }
      module.gain?.forEach((gain, o) => {
        gains.data[(1 + place) * outFeatures + column + o] = 1 + gain;
      });
    }
  }
  return { [stackedA(key)]: a, [stackedB(key)]: b, ...(hasGains ? { [stackedGain(key)]: gains } : {}) };
}

function widened({ dtype }: HostModule, values: Float32Array | Uint16Array): Float32Array {
  if (values instanceof Float32Array) return values;
  return dtype === "F16" ? float16ToFloat32(values) : bfloat16ToFloat32(values);
}
