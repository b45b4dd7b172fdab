/**
 * The graph of a task model with adapters as inputs. Each row of a batch chooses a place of the adapters' stacks; place 0 holds the
 * base's own values, zeros for what is added, so one graph serves every mix of adapters.
 */

import { assert } from "../../base/errors.js";
import { GraphBuilder } from "../../graph/builder.js";
import { Ops } from "../../graph/ops.js";
import { pruneGraph } from "../../graph/prune.js";
import { sortNodes } from "../../graph/sort.js";
import type { Graph, Initializer, Node, Value } from "../../graph/types.js";
import { addParts } from "./adapted-layers.js";
import type { AdaptedNode, ModuleParts } from "./adapted-node.js";
import { AdaptedOps, type RowCount } from "./adapted-ops.js";
import { BlockedLayers } from "./blocked/layers.js";
import type { BlockPlan } from "./blocked/plan.js";
import type { Blocks } from "./blocked/weights.js";
import type { WeightedNode } from "./weighted-nodes.js";

/** int64 [rows]: the place of each row's adapter. */
export const adapterRows = "adapter_rows";

/** `blocks`: convolutions to run in blocks; those of them that are adapted keep the base's weights. */
export function adaptGraph(
  graph: Graph,
  adapted: readonly AdaptedNode[],
  rows: RowCount,
  blocks: Blocks | null = null,
): Graph {
  const replaced = new Map<Node, Node | null>();
  for (const node of blocks ? nodesInBlocks(blocks.plan) : []) replaced.set(node, null);
  const inBlocks = adapted.filter(({ target }) => replaced.has(target.node));
  const others = adapted.filter((item) => !inBlocks.includes(item));
  for (const { target, parts } of others) {
    if (parts.whole && target.bias?.add) replaced.set(target.bias.add, null);
    replaced.set(target.node, withoutAdapter(target, parts));
  }
  const nodes = graph.nodes.flatMap((node) => {
    const other = replaced.get(node);
    return other === undefined ? [node] : (other ?? []);
  });
  const neutral = others.flatMap(({ target, parts }) => (replacesNorm(target, parts) ? neutralVectors(target) : []));
  const initializers = [...graph.initializers, ...new Map(neutral.map((item) => [item.value.name, item])).values()];
  const builder = GraphBuilder.from({ ...graph, nodes, initializers });
  const ops = new AdaptedOps(new Ops(builder), adapterRows, rows);
  if (blocks) new BlockedLayers(new Ops(builder), ops, blocks, inBlocks).write();
  for (const item of others) {
    const base = replaced.get(item.target.node)?.outputs[0];
    assert(base !== undefined, "a layer has an output");
    builder.scope(`lora.${item.path}`, () => addParts(ops, item, base, outputOf(item)));
  }
  const isResized = adapted.some(({ parts }) => parts.whole);
  for (const output of graph.outputs) builder.output(isResized ? { ...output, unknown: "shape" } : output);
  const built = builder.build();
  const sorted = sortNodes(built.nodes);
  assert(!("cyclic" in sorted), "an adapter's product reads only what its layer reads");
  return pruneGraph({ ...built, nodes: sorted });
}

function nodesInBlocks({ nodes, absorbed }: BlockPlan): Node[] {
  return [...nodes.map((item) => (item.kind === "convolution" ? item.target.node : item.node)), ...absorbed];
}

/** The value that an adapted layer computes; that of a replaced one includes its bias. */
function outputOf({ target, parts }: AdaptedNode): Value {
  const node = parts.whole && target.bias?.add ? target.bias.add : target.node;
  const [y] = node.outputs;
  assert(y !== undefined, "a layer has an output");
  return y;
}

/** The node with its output under another name, and without its bias where gains scale the product alone. */
function withoutAdapter(target: WeightedNode, parts: ModuleParts): Node {
  const { gain } = parts;
  const node = replacesNorm(target, parts) ? neutralNode(target) : target.node;
  const [y, ...others] = node.outputs;
  assert(y !== undefined, "a layer has an output");
  const inputs = gain ? node.inputs.slice(0, 2) : node.inputs;
  return { ...node, inputs, outputs: [{ ...y, name: `${y.name}/base` }, ...others] };
}

const replacesNorm = ({ kind }: WeightedNode, { whole }: ModuleParts): boolean => kind === "norm" && whole;

/** The node of a normalization as if it multiplied by ones and added zeros. */
function neutralNode(target: WeightedNode): Node {
  const { node, input, bias } = target;
  const [ones, zeros] = neutralVectors(target);
  if (node.op === "Mul") return { ...node, op: "Identity", inputs: node.inputs.filter((_, i) => i !== input) };
  const inputs = node.inputs.map((value, i) => {
    if (i === input) return ones.value;
    return bias?.add === node && i === bias.input ? zeros.value : value;
  });
  return { ...node, inputs };
}

function neutralVectors({ outFeatures }: WeightedNode): readonly [ones: Initializer, zeros: Initializer] {
  const filled = (name: string, number: number): Initializer => {
    const bytes = new Uint8Array(new Float32Array(outFeatures).fill(number).buffer);
    return { value: { name, type: "float32", shape: [outFeatures] }, data: { kind: "inline", bytes } };
  };
  return [filled(`norm.ones.${outFeatures}`, 1), filled(`norm.zeros.${outFeatures}`, 0)];
}
