/**
 * The graph of a task model with adapters as inputs. Each row of a batch chooses a place of the adapters' stacks; place 0 holds zeros,
 * so one graph serves every mix of adapters and of rows without one.
 */

import { assert } from "../../base/errors.js";
import { GraphBuilder } from "../../graph/builder.js";
import { Ops } from "../../graph/ops.js";
import { sortNodes } from "../../graph/sort.js";
import type { Graph, Node, Value } from "../../graph/types.js";
import type { WeightedNode } from "./weighted-nodes.js";

/** int64 [rows]: the place of each row's adapter. */
export const adapterRows = "adapter_rows";

/** Names of a module's stacks: A [places, in, rank], and B [places, rank, out] times the adapter's scale. */
export const stackNames = (path: string) => ({ a: `lora_a.${path}`, b: `lora_b.${path}` });

export interface AdaptedNode {
  /** Names the module's stacks. */
  readonly path: string;
  readonly target: WeightedNode;
  /** Of the stacks; smaller adapters are padded with zeros. */
  readonly rank: number;
}

/**
 * Adds B A x to each adapted linear layer. The rows of a batch must lie one after the other in the layer's input, each as a block of
 * its first axes: [rows, in], [rows, positions, in] or [rows * positions, in].
 */
export function adaptGraph(graph: Graph, adapted: readonly AdaptedNode[]): Graph {
  const moved = new Map(adapted.map(({ target }) => [target.node, withoutAdapter(target.node)]));
  const nodes = graph.nodes.map((node) => moved.get(node) ?? node);
  const builder = GraphBuilder.from({ ...graph, nodes });
  const delta = new Deltas(new Ops(builder));
  for (const { path, target, rank } of adapted) {
    assert(target.kind === "linear", "only linear layers are adapted");
    const [y, base] = [target.node.outputs[0], moved.get(target.node)?.outputs[0]];
    assert(y !== undefined && base !== undefined, "a linear layer has an output");
    builder.scope(`lora.${path}`, () => delta.add(path, target, rank, base, y));
  }
  for (const output of graph.outputs) builder.output(output);
  const built = builder.build();
  const sorted = sortNodes(built.nodes);
  assert(!("cyclic" in sorted), "an adapter's product reads only what its layer reads");
  return { ...built, nodes: sorted };
}

/** The node with its output under another name: the adapted sum takes the name. */
function withoutAdapter(node: Node): Node {
  const [y, ...others] = node.outputs;
  assert(y !== undefined, "a linear layer has an output");
  return { ...node, outputs: [{ ...y, name: `${y.name}/base` }, ...others] };
}

class Deltas {
  readonly #op: Ops;
  readonly #rows: Value;
  readonly #count: Value;
  /** Layers that read the same input share its reshaped form. */
  readonly #inputs = new Map<string, Value>();

  constructor(op: Ops) {
    this.#op = op;
    this.#rows = op.builder.input(adapterRows, "int64", ["rows"]);
    this.#count = op.shapeOf(this.#rows);
  }

  add(path: string, { node, inFeatures, outFeatures }: WeightedNode, rank: number, base: Value, y: Value): void {
    const op = this.#op;
    const names = stackNames(path);
    const a = this.#ofRows(op.builder.input(names.a, "float32", ["places", inFeatures, rank]));
    const b = this.#ofRows(op.builder.input(names.b, "float32", ["places", rank, outFeatures]));
    const product = op.matMul(op.matMul(this.#blocks(node.inputs[0] as Value, inFeatures), a), b); // [rows, positions, out]
    const shaped = op.one("Reshape", [product, op.one("Shape", [base], "int64", ["axes"])], y.type, y.shape);
    op.builder.node("Add", [base, shaped], [{ type: y.type, shape: y.shape, name: y.name }]);
  }

  #ofRows(stack: Value): Value {
    return this.#op.one("Gather", [stack, this.#rows], stack.type, ["rows", ...stack.shape.slice(1)], { axis: 0 });
  }

  /** x as [rows, positions, in]. */
  #blocks(x: Value, inFeatures: number): Value {
    const known = this.#inputs.get(x.name);
    if (known) return known;
    const op = this.#op;
    const tail = op.builder.constant("int64", [2], [-1, inFeatures]);
    const blocks = op.one("Reshape", [x, op.concat([this.#count, tail], 0)], "float32", [
      "rows",
      "positions",
      inFeatures,
    ]);
    this.#inputs.set(x.name, blocks);
    return blocks;
  }
}
