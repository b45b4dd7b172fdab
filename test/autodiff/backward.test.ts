/** The backward pass: pruned to the targets, over graphs from other builders, through custom gradients; its refusals. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { backward } from "../../src/autodiff/backward.js";
import { GraphBuilder } from "../../src/graph/builder.js";
import type { CustomGradient } from "../../src/graph/gradient.js";
import { Ops } from "../../src/graph/ops.js";
import { ShapeError } from "../../src/graph/shape.js";
import type { Graph, Node, Shape, Value } from "../../src/graph/types.js";
import { Tensor } from "../../src/runtime/tensor.js";
import { runner } from "../support/differences.js";

function start(...shapes: Shape[]) {
  const builder = new GraphBuilder("walk");
  const inputs = shapes.map((shape, i) => builder.input(`x${i}`, "float32", shape));
  return { builder, op: new Ops(builder), inputs: inputs as [Value, Value, Value] };
}

async function run(builder: GraphBuilder, outputs: readonly Value[], feeds: Record<string, [number[], number[]]>) {
  for (const value of outputs) builder.output(value);
  const tensors = Object.entries(feeds).map(
    ([name, [shape, data]]) => [name, Tensor.from("float32", shape, Float32Array.from(data))] as const,
  );
  return (await (await runner(builder.build()))(new Map<string, Tensor>(tensors))).map(({ data }) =>
    [...data].map(Number),
  );
}

test("gradients of a value that is used twice are added, also of an intermediate value", async () => {
  const { builder, op, inputs } = start([2]);
  const square = op.mul(inputs[0], inputs[0]);
  const loss = op.sum(op.add(op.mul(square, square), square), [0], false); // x⁴ + x²
  const found = backward(builder, loss, [inputs[0], square]);
  const [dx, dSquare] = await run(builder, [found.get(inputs[0]) as Value, found.get(square) as Value], {
    x0: [[2], [1, -2]],
  });
  assert.deepEqual(dx, [6, -36]);
  assert.deepEqual(dSquare, [3, 9]);
});

test("no nodes are added below the lowest target, nor for constants", () => {
  const deep = (targets: (layers: Value[], x: Value) => Value[]): Node[] => {
    const { builder, op, inputs } = start([2, 2]);
    const layers: Value[] = [];
    let x = inputs[0];
    for (let i = 0; i < 10; i++) {
      const w = builder.input(`w${i}`, "float32", [2, 2]);
      layers.push(w);
      x = op.tanh(op.matMul(x, w));
    }
    const forward = builder.nodes.length;
    const loss = op.sum(x, [0, 1], false);
    backward(builder, loss, targets(layers, inputs[0]));
    return builder.nodes.slice(forward);
  };
  const count = (nodes: Node[]): number => nodes.filter(({ op }) => op === "MatMul" || op === "Gemm").length;
  assert.equal(count(deep((w) => [w[9] as Value])), 1, "the last weight: one product");
  assert.equal(count(deep((w) => [w[5] as Value])), 5, "a weight half way up: four products down to it and its own");
  assert.equal(count(deep((w) => [w[0] as Value])), 10);
  assert.equal(count(deep((w) => w)), 19, "all weights: each its own, and nine on the way");
  assert.equal(count(deep((_, x) => [x])), 10);
});

test("a graph from another tool is extended, whatever its nodes' names", async () => {
  const value = (name: string, shape: Shape): Value => ({ name, type: "float32", shape });
  const node = (op: string, inputs: string[], output: string): Node => ({
    name: "",
    op,
    domain: "",
    inputs: inputs.map((name) => value(name, ["n"])), // equal names, different objects
    outputs: [value(output, ["n"])],
    attributes: {},
  });
  const graph: Graph = {
    name: "imported",
    inputs: [value("a", ["n"]), value("gradients.Mul", ["n"])],
    outputs: [value("y", ["n"])],
    nodes: [node("Mul", ["a", "gradients.Mul"], "Mul"), node("Exp", ["Mul"], "y")],
    initializers: [],
  };
  const builder = GraphBuilder.from(graph);
  const seed = builder.input("seed", "float32", ["n"]);
  const a = graph.inputs[0] as Value;
  const gradient = backward(builder, graph.outputs[0] as Value, [a], { seed }).get(a) as Value;
  const names = builder.nodes.flatMap(({ outputs }) => outputs.map(({ name }) => name));
  assert.equal(new Set(names).size, names.length);
  const [dx] = await run(builder, [gradient], {
    a: [[2], [0, 1]],
    "gradients.Mul": [[2], [3, 0]],
    seed: [[2], [1, 2]],
  });
  assert.deepEqual(dx, [3, 0]);
});

test("a custom gradient replaces the nodes between its values, and a detached value passes none on", async () => {
  const { builder, op, inputs } = start([2], [2]);
  const rounded = op.one("Round", [op.mul(inputs[0], inputs[1])], "float32", [2]);
  const straight: CustomGradient = {
    inputs: [inputs[0], inputs[1]],
    outputs: [rounded],
    vjp: (by, [g], wanted) => {
      assert.deepEqual(wanted, [true, false]);
      return [by.scale(g as Value, 5), null];
    },
  };
  const still = op.exp(inputs[0]);
  const loss = op.sum(op.mul(rounded, still), [0], false);
  const detached: CustomGradient = { inputs: [inputs[0]], outputs: [still], vjp: () => [null] };
  const gradient = backward(builder, loss, [inputs[0]], { custom: [straight, detached] });
  const [dx] = await run(builder, [gradient.get(inputs[0]) as Value], { x0: [[2], [0, 0]], x1: [[2], [1, 1]] });
  assert.deepEqual(dx, [5, 5]);
});

test("an operator without a gradient is refused by name", () => {
  const { builder, op, inputs } = start([2], [2]);
  const [x, other] = inputs;
  const loss = op.sum(x, [0], false);
  assert.throws(() => backward(builder, loss, [other]), /does not depend on x1/);
  assert.throws(() => backward(builder, x, [x]), /one element, or a seed/);
  const strange = op.one("CumProd", [x], "float32", []);
  assert.throws(
    () => backward(builder, strange, [x]),
    (error) => error instanceof ShapeError && /No gradient rule for CumProd/.test(error.message),
  );
  const list = op.builder.constant("int64", [1], [0]);
  const computed = op.one("Slice", [x, op.shapeOf(x), op.shapeOf(x)], "float32", [1]);
  assert.throws(() => backward(builder, computed, [x]), /its starts are computed/);
  const place = op.one("ScatterElements", [x, list, x], "float32", [2]);
  assert.throws(() => backward(builder, op.sum(place, [0], false), [x]), /only reduction=add/);
});

test("an operator of another domain does not use ONNX's rule", () => {
  const { builder, op, inputs } = start([]);
  const y = op.one("Add", [inputs[0], inputs[0]], "float32", [], {}, "somewhere.else");
  assert.throws(() => backward(builder, y, [inputs[0]]), /No gradient rule for somewhere\.else\.Add/);
});
