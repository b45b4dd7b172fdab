/** Layers that read what all rows share, as DeBERTa's projections of relative positions do: adapters change them for each row. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { HostTaskAdapter } from "../../../src/adapter/types.js";
import { TaskBank } from "../../../src/engine/task/bank.js";
import { probeRows } from "../../../src/engine/task/row-probe.js";
import { TaskRunner } from "../../../src/engine/task/runner.js";
import { trialAdapter } from "../../../src/engine/task/trial-adapters.js";
import { GraphBuilder } from "../../../src/graph/builder.js";
import { Ops } from "../../../src/graph/ops.js";
import type { RowLayout } from "../../../src/model/task/adapted-node.js";
import { findTaskModules } from "../../../src/model/task/target-modules.js";
import type { WeightedNode } from "../../../src/model/task/weighted-nodes.js";
import { Tensor } from "../../../src/runtime/tensor.js";

const wave = (count: number, step: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(1 + i * step));

/** One layer reads the rows, then a table that all of them share, whose outputs the graph repeats for each row itself. */
function graphOf() {
  const builder = new GraphBuilder("positions");
  const op = new Ops(builder);
  const constant = (name: string, shape: readonly number[], step: number) =>
    builder.initializer(name, "float32", shape, {
      kind: "inline",
      bytes: new Uint8Array(
        wave(
          shape.reduce((a, b) => a * b, 1),
          step,
        ).buffer,
      ),
    });
  const ints = (...values: number[]) => builder.constant("int64", [values.length], values);
  const x = builder.input("x", "float32", ["batch", 4]);
  const weight = constant("key_proj.weight", [4, 4], 0.7);
  const keys = op.matMul(x, weight);
  const table = op.one("Abs", [constant("table", [1, 3, 4], 0.3)], "float32", [1, 3, 4]);
  const projected = op.matMul(table, weight);
  // A constant shape: outputs of several rows would be mixed.
  const heads = op.one("Reshape", [projected, ints(1, 3, -1)], "float32", [1, 3, 4]);
  const count = op.one("Shape", [x], "int64", [1], { end: 1 });
  const repeats = op.one("Concat", [count, ints(1, 1)], "int64", [3], { axis: 0 });
  const repeated = op.one("Tile", [heads, repeats], "float32", ["batch", 3, 4]);
  const column = op.one("Unsqueeze", [keys, ints(2)], "float32", ["batch", 4, 1]);
  const scores = op.one("MatMul", [repeated, column], "float32", ["batch", 3, 1]);
  builder.output(op.one("Squeeze", [scores, ints(2)], "float32", ["batch", 3]));
  return builder.build();
}

test("a layer used for rows and for a table that they share is adapted at both, in a batch as alone", async () => {
  const graph = graphOf();
  const modules = await findTaskModules([{ role: "whole", label: "model.onnx", graph }], null);
  const [module, ...others] = modules;
  assert.ok(module && others.length === 0 && module.uses.length === 2);
  const targets = module.uses.map(({ target }) => target);
  const { layouts, isBatched } = await probeRows(graph, targets, { threads: 1, imageSize: null });
  assert.deepEqual([isBatched, ...targets.map((target) => layouts.get(target))], [true, "first", "uniform"]);
  const adapters: HostTaskAdapter[] = [2, 3].map((rank) => trialAdapter(modules, rank));
  const bank = new TaskBank({ modules, maxPlaces: 4, maxBytes: 2 ** 20 });
  const { stacks, places } = await bank.place(adapters);
  const known = layouts as ReadonlyMap<WeightedNode, RowLayout>;
  await using runner = new TaskRunner({ graph, layouts: known, isBatched: true, maxBatch: 4, threads: 1 });
  const rows = [places[0] ?? 0, places[1] ?? 0, 0, places[0] ?? 0].map((place, i) => ({
    inputs: new Map([["x", Tensor.from("float32", [1, 4], wave(4, i + 0.5))]]),
    place,
  }));
  const found = await runner.run(rows, stacks);
  for (const [index, { inputs, place }] of rows.entries()) {
    const host = adapters[places.indexOf(place)]?.modules.get(module.path);
    const adapted = (input: ArrayLike<number>): number[] =>
      Array.from({ length: 4 }, (_, out) => {
        let sum = 0;
        for (let i = 0; i < 4; i++) {
          let weight = wave(16, 0.7)[i * 4 + out] ?? 0;
          const rank = host?.rank ?? 0;
          for (let k = 0; k < rank; k++) weight += (host?.a?.[i * rank + k] ?? 0) * (host?.b?.[k * 4 + out] ?? 0);
          sum += (input[i] ?? 0) * weight;
        }
        return sum;
      });
    const key = adapted(inputs.get("x")?.data as Float32Array);
    const table = wave(12, 0.3).map(Math.abs);
    const expected = [0, 1, 2].map((position) =>
      adapted(table.subarray(position * 4, position * 4 + 4)).reduce((sum, value, i) => sum + value * (key[i] ?? 0), 0),
    );
    const scores = found[index]?.get("Squeeze")?.data;
    assert.ok(scores && expected.every((value, i) => Math.abs(value - Number(scores[i])) < 1e-5), `row ${index}`);
  }
});
