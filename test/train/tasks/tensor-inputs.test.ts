/** Rows of numbers as inputs of several types. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { GraphBuilder } from "../../../src/graph/builder.js";
import { Ops } from "../../../src/graph/ops.js";
import { NumberReader } from "../../../src/train/tasks/inputs/tensor-inputs.js";

test("whole numbers stay whole, and ids within their table", () => {
  const builder = new GraphBuilder("rows");
  const goal = builder.input("goal", "int64", ["b"]);
  const count = builder.input("count", "int32", ["b", 2]);
  const table = builder.constant("float32", [3, 2], [1, 2, 3, 4, 5, 6]);
  builder.output(new Ops(builder).gather(table, goal));
  builder.output(count);
  const reader = new NumberReader(builder.build());
  const row = reader.read({ goal: 2, count: [-7, 9] }, "observation");
  assert.deepEqual([...(row.get("goal")?.data ?? []), ...(row.get("count")?.data ?? [])], [2, -7, 9]);
  for (const [observation, message] of [
    [{ goal: 3, count: [0, 0] }, "has 3 in `observation.goal`; 0 to 2 are allowed"],
    [{ goal: -1, count: [0, 0] }, "has -1 in `observation.goal`; 0 to 2 are allowed"],
    [{ goal: 1, count: [0, 0.5] }, "has 0.5 in `observation.count`; whole numbers are allowed"],
  ] as const)
    assert.throws(() => reader.read(observation, "observation"), { message });
});
