/** Inputs of serving graphs that take adapters as stacks, filled from adapters as they are held in host memory. */
import type { HostAdapter } from "../../src/adapter/types.js";
import { at, float32At } from "../../src/base/list.js";
import type { Graph } from "../../src/graph/types.js";
import { stackedA, stackedB, stackedGain, stackedInputs } from "../../src/model/serving/stacked-adapters.js";
import { Tensor } from "../../src/runtime/tensor.js";
import { bfloat16ToFloat32, float16ToFloat32 } from "../../src/tensor/half.js";

type Inputs = Record<string, Tensor>;

export interface Stack {
  /** The place of each token's adapter, -1 for none. */
  masked(places: readonly number[]): Inputs;
  picked(place: number): Inputs;
}

/** Place i has adapter i, padded to `rank`, or by default no more than its own rank. */
export function stackOf(graph: Graph, adapters: readonly HostAdapter[], rank?: number): Stack {
  const ranks = adapters.map((adapter) => rank ?? adapter.rank);
  const stacks = Object.assign({}, ...pathsOf(graph).map((path) => stacksOf(graph, path, adapters, ranks))) as Inputs;
  const ints = (shape: readonly number[], values: readonly number[]): Tensor =>
    Tensor.from("int32", shape, Int32Array.from(values));
  return {
    masked: (places) => ({
      ...stacks,
      [stackedInputs.places]: ints([places.length, 1], places),
      [stackedInputs.rankPlaces]: ints(
        [sum(ranks)],
        ranks.flatMap((size, place) => Array<number>(size).fill(place)),
      ),
    }),
    picked: (place) => ({
      ...Object.fromEntries(Object.entries(stacks).map(([name, tensor]) => [name, byPlace(name, tensor, ranks)])),
      [stackedInputs.place]: ints([], [place]),
    }),
  };
}

const pathsOf = ({ inputs }: Graph): string[] =>
  inputs.flatMap(({ name }) => (name.startsWith(stackedA("")) ? [name.slice(stackedA("").length)] : []));

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

/** [ranks, width] as [places, rank, width]; gains as they are. */
function byPlace(name: string, tensor: Tensor, ranks: readonly number[]): Tensor {
  if (name.startsWith(stackedGain(""))) return tensor;
  return Tensor.from(tensor.type, [ranks.length, at(ranks, 0), at(tensor.shape, 1)], tensor.data);
}

function stacksOf(graph: Graph, path: string, adapters: readonly HostAdapter[], ranks: readonly number[]): Inputs {
  const widthOf = (name: string): number =>
    Number(graph.inputs.find((value) => value.name === name)?.shape.at(-1) ?? Number.NaN);
  const [inFeatures, outFeatures] = [widthOf(stackedA(path)), widthOf(stackedB(path))];
  const a = Tensor.zeros("float32", [sum(ranks), inFeatures]);
  const b = Tensor.zeros("float32", [sum(ranks), outFeatures]);
  const gains = Tensor.zeros("float32", [1 + adapters.length, outFeatures]);
  gains.data.fill(1);
  let first = 0;
  for (const [place, adapter] of adapters.entries()) {
    const module = adapter.modules.get(path);
    if (module) {
      const widen = (values: Float32Array | Uint16Array): Float32Array =>
        values instanceof Float32Array
          ? values
          : module.dtype === "F16"
            ? float16ToFloat32(values)
            : bfloat16ToFloat32(values);
      const [ownA, ownB] = [widen(module.a), widen(module.b)]; // [in, rank], [rank, out]
      for (let i = 0; i < inFeatures; i++) {
        for (let k = 0; k < module.rank; k++)
          a.data[(first + k) * inFeatures + i] = float32At(ownA, i * module.rank + k);
      }
      b.data.set(
        ownB.map((value) => value * module.scale),
        first * outFeatures,
      );
      if (module.gain)
        gains.data.set(
          module.gain.map((gain) => gain + 1),
          (place + 1) * outFeatures,
        );
    }
    first += at(ranks, place);
  }
  const hasGains = graph.inputs.some(({ name }) => name === stackedGain(path));
  return { [stackedA(path)]: a, [stackedB(path)]: b, ...(hasGains ? { [stackedGain(path)]: gains } : {}) };
}
