/** Which of an ONNX file's weights `--method full` trains. */

import { LorikeetError } from "../../base/errors.js";
import type { Graph, Initializer } from "../../graph/types.js";
import { isParameterName } from "../../model/task/names.js";
import type { TaskModule } from "../../model/task/target-modules.js";
import type { TrainedTensor } from "../../model/task/trained-modules.js";
import { vectorWeights } from "../../model/task/vector-graph.js";

/** Inputs that are statistics of data, not parameters. */
const statistics: Readonly<Record<string, readonly number[]>> = { BatchNormalization: [3, 4] };
/** Operators whose float inputs beside the first are parameters, whatever they are called. */
const parametric: ReadonlySet<string> = new Set([
  ...["BatchNormalization", "LayerNormalization", "SimplifiedLayerNormalization", "GroupNormalization"],
  ...["InstanceNormalization", "PRelu"],
]);

/**
 * The float32 weights that `outputs` depend on: those of target modules and normalizations, and others that are called as a module's
 * parameter is. Layers that modules.json adds are not. Throws `model_unsupported` if there are none.
 */
export function trainedWeights(
  graph: Graph,
  modules: readonly TaskModule[],
  outputs: readonly string[],
): Initializer[] {
  const read = new Set(outputs);
  const fixed = new Set<string>();
  const parameters = new Set<string>();
  for (const { weight, bias } of modules.flatMap(({ uses }) => uses.map(({ target }) => target))) {
    parameters.add(weight.value.name);
    if (bias) parameters.add(bias.values.value.name);
  }
  for (const { op, inputs, outputs: results } of graph.nodes.toReversed()) {
    if (!results.some(({ name }) => read.has(name))) continue;
    for (const [index, input] of inputs.entries()) {
      if (!input) continue;
      read.add(input.name);
      if (statistics[op]?.includes(index)) fixed.add(input.name);
      else if (index > 0 && parametric.has(op)) parameters.add(input.name);
    }
  }
  const found = graph.initializers.filter(({ value: { name, type } }) => {
    if (type !== "float32" || !read.has(name) || fixed.has(name) || name.startsWith(vectorWeights)) return false;
    return parameters.has(name) || isParameterName(name);
  });
  if (found.length > 0) return found;
  throw new LorikeetError("model_unsupported", "The model has no float32 weight that can be trained.", {
    param: "--method",
  });
}

export const tensorOf = ({ value: { name, shape } }: Initializer): TrainedTensor => ({
  name,
  shape: shape.map(Number),
});
