/**
 * Biases of zeros that an export left out: PyTorch's current exporter drops them from products and convolutions, as of a head that is not
 * trained yet. Where the checkpoint has them, the graph gets them back, so that adapters and training can change them.
 */

import { valueNames } from "../../graph/edges.js";
import { elementBytes, type Graph, type Initializer, type Node } from "../../graph/types.js";
import type { CheckpointContent } from "./content.js";
import { findWeightedNodes, type WeightedNode } from "./weighted-nodes.js";

export async function restoreBiases(graph: Graph, content: CheckpointContent): Promise<Graph> {
  const zeros = new Map<string, number>();
  for (const { path, values } of (await content.biases()).values()) {
    if (values.every((value) => value === 0)) zeros.set(path, values.length);
  }
  const sizes = new Set(zeros.values());
  const taken = valueNames(graph);
  const restored = new Map<Node, Initializer>();
  for (const target of findWeightedNodes(graph)) {
    const { node, outFeatures } = target;
    if (!lacksBias(target) || restored.has(node) || !sizes.has(outFeatures)) continue;
    const match = (await content.match(target, false)).find(({ path }) => zeros.get(path) === outFeatures);
    if (match) restored.set(node, zeroBias(target, freeName(`${match.path}.bias`, taken)));
  }
  if (restored.size === 0) return graph;
  const nodes = graph.nodes.map((node) => {
    const bias = restored.get(node);
    return bias ? { ...node, inputs: [...node.inputs.slice(0, 2), bias.value] } : node;
  });
  return { ...graph, nodes, initializers: [...graph.initializers, ...restored.values()] };
}

/** Whether a layer could bring a bias by itself and does not: then what it was exported from had none, or one of zeros. */
export const lacksBias = ({ node, bias }: WeightedNode): boolean =>
  bias === null && (node.op === "Gemm" || node.op === "Conv") && !node.inputs[2];

function zeroBias({ weight, outFeatures }: WeightedNode, name: string): Initializer {
  const { type } = weight.value;
  const bytes = new Uint8Array(outFeatures * elementBytes[type]);
  return { value: { name, type, shape: [outFeatures] }, data: { kind: "inline", bytes } };
}

function freeName(wanted: string, taken: Set<string>): string {
  let name = wanted;
  for (let i = 1; taken.has(name); i++) name = `${wanted}_${i}`;
  taken.add(name);
  return name;
}
