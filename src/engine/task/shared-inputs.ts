/** Tries adapters on layers whose input all rows share: can each row of a batch have its own there? */

import { hasCode } from "../../base/errors.js";
import type { Graph } from "../../graph/types.js";
import { type AdaptedNode, stackNames } from "../../model/task/adapted-node.js";
import { adapterRows, adaptGraph } from "../../model/task/serving-graph.js";
import { takesProduct, type WeightedNode } from "../../model/task/weighted-nodes.js";
import { Tensor } from "../../runtime/tensor.js";
import { elementCount } from "../../tensor/shape.js";
import { ProbedGraph, type TrialRunOptions, type Values } from "./probed-graph.js";
import type { Trial } from "./trial-inputs.js";

/** Rows, each with an adapter of its own. */
const seeds: readonly number[] = [0, 1, 2];
/** As a share of an output's largest number. */
const tolerance = 1e-3;

/**
 * Whether rows with different adapters on these layers give together what each gives alone. They do not where the graph repeats a
 * layer's output for each row itself.
 */
export async function takesAdapterPerRow(
  graph: Graph,
  targets: readonly WeightedNode[],
  trial: Trial,
  options: TrialRunOptions,
): Promise<boolean> {
  const adapted = targets.map((target, i): AdaptedNode => {
    const hasProduct = takesProduct(target.kind);
    return {
      path: `${i}`,
      target,
      layout: "shared",
      parts: { product: hasProduct, gain: false, shift: !hasProduct, whole: false },
    };
  });
  using probed = await ProbedGraph.open(adaptGraph(graph, adapted, "any"), [], options);
  const stacks = stacksOf(adapted);
  const run = async (rows: readonly number[]): Promise<Values> => {
    const places = Tensor.from("int64", [rows.length], BigInt64Array.from(rows, BigInt));
    return await probed.run(new Map([...trial.of(rows), ...stacks, [adapterRows, places] as const]));
  };
  try {
    const together = await run(seeds);
    for (const seed of seeds) {
      const alone = await run([seed]);
      if (graph.outputs.some(({ name }) => !isRow(together.get(name), alone.get(name), seed))) return false;
    }
    return true;
  } catch (error) {
    if (hasCode(error, "runtime_failed")) return false;
    throw error;
  }
}

/** Stacks of adapters of rank 1, a place for each row. */
function stacksOf(adapted: readonly AdaptedNode[]): Map<string, Tensor> {
  const places = seeds.length;
  const stacks = new Map<string, Tensor>();
  for (const { path, parts, target } of adapted) {
    const { inFeatures, outFeatures } = target;
    const { a, b, shift } = stackNames(path);
    if (parts.shift) stacks.set(shift, wave([places, outFeatures], 1));
    else {
      stacks.set(a, wave([places, inFeatures, 1], 1 / Math.sqrt(inFeatures)));
      stacks.set(b, wave([places, 1, outFeatures], 1));
    }
  }
  return stacks;
}

function wave(shape: readonly number[], size: number): Tensor<"float32"> {
  const values = Float32Array.from({ length: elementCount(shape) }, (_, i) => size * Math.sin(1 + 1.7 * i));
  return Tensor.from("float32", shape, values);
}

/** Whether a row of an output is what a run of that row alone gives. */
function isRow(together: Tensor | undefined, alone: Tensor | undefined, row: number): boolean {
  const size = alone?.data.length ?? 0;
  if (!together || !alone || together.data.length !== seeds.length * size) return false;
  let largest = 0;
  let difference = 0;
  for (let i = 0; i < size; i++) {
    const expected = Number(alone.data[i]);
    largest = Math.max(largest, Math.abs(expected));
    difference = Math.max(difference, Math.abs(Number(together.data[row * size + i]) - expected));
  }
  return difference <= tolerance * largest;
}
