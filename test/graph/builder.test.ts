/** Names that a builder gives. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { GraphBuilder } from "../../src/graph/builder.js";
import { Ops } from "../../src/graph/ops.js";
import type { Graph } from "../../src/graph/types.js";
import { Tensor } from "../../src/runtime/tensor.js";
import { runner } from "../support/differences.js";

/** y = 3 x + 1, by nodes and constants with generated names. */
function written(): Graph {
  const builder = new GraphBuilder("written");
  const op = new Ops(builder);
  const x = builder.input("x", "float32", [2]);
  builder.output(op.scope("layer", () => op.add(op.scale(x, 3), op.like(x, 1))));
  return builder.build();
}

const namesOf = ({ nodes, initializers }: Graph): string[] => [
  ...nodes.flatMap(({ outputs }) => outputs.map(({ name }) => name)),
  ...initializers.map(({ value }) => value.name),
];

test("a graph that was written is extended without a name or a constant of its own being taken for a new one", () => {
  const graph = written();
  const builder = GraphBuilder.from(graph);
  const op = new Ops(builder);
  const [y] = graph.outputs;
  assert.ok(y);
  const constant = op.like(y, 7);
  const data = builder.initializerOf(constant.name)?.data;
  assert.deepEqual(data?.kind === "inline" && new Float32Array(data.bytes.slice().buffer), Float32Array.of(7));
  assert.equal(op.like(y, 7), constant);
  builder.output(op.scope("layer", () => op.add(op.scale(y, 3), constant)));
  const names = namesOf(builder.build());
  assert.equal(new Set(names).size, names.length, names.join());
});

test("a value may be called like a node whose own output is called otherwise, and like no other value", () => {
  const graph = written();
  const [first, second] = graph.nodes;
  assert.ok(first?.outputs[0] && second);
  const renamed = { ...first.outputs[0], name: `${first.name}/base` };
  const nodes = [
    { ...first, outputs: [renamed] },
    { ...second, inputs: [first.outputs[0], second.inputs[1] ?? null] },
  ];
  const builder = GraphBuilder.from({ ...graph, nodes });
  const spec = { type: "float32", shape: [2], name: first.name } as const;
  const [value] = builder.scope("layer", () => builder.node("Identity", [renamed], [spec]));
  assert.equal(value?.name, first.name);
  assert.throws(() => builder.node("Identity", [renamed], [spec]), /The name layer\.Mul is taken/);
  assert.equal(
    builder.scope("layer", () => builder.node("Mul", [renamed], [{ ...spec, name: "free" }]))[0]?.name,
    "free",
  );
});

test("ONNX Runtime runs a padding between transpositions, which it moves", async () => {
  const builder = new GraphBuilder("padded");
  const op = new Ops(builder);
  const x = builder.input("x", "float32", [1, 2, 1, 2]);
  const y = op.transpose(op.pad(op.transpose(x, [0, 2, 1, 3]), 3, 1, 0, 3), [0, 2, 1, 3]);
  builder.output(y);
  const run = await runner(builder.build());
  const [output] = await run(new Map([[x.name, Tensor.from("float32", [1, 2, 1, 2], Float32Array.of(1, 2, 3, 4))]]));
  assert.deepEqual([...(output?.data ?? [])], [0, 1, 2, 0, 3, 4]);
});
