/** What a serving graph gives of its logits. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { greedyTokens } from "../../../src/model/serving/graph.js";
import { oracleRoot, readExpected } from "../../support/oracle.js";
import { ServedGraph } from "../../support/served-graph.js";

test("greedy tokens are those of the largest logits, with the logits and without", async () => {
  const folder = join(oracleRoot, "llama");
  const { inputIds, logits } = await readExpected(folder);
  const vocab = logits.length / inputIds.length;
  const expected = inputIds.map((_, row) => {
    const own = logits.subarray(row * vocab, (row + 1) * vocab);
    return BigInt(own.indexOf(Math.max(...own)));
  });
  for (const [outputs, names] of [
    ["both", ["logits", greedyTokens]],
    ["tokens", [greedyTokens]],
  ] as const) {
    await using model = await ServedGraph.open(folder, { outputs });
    const found = await model.run({ tokens: [inputIds], starts: [0] });
    assert.deepEqual([...found.keys()], names);
    assert.deepEqual([...(found.get(greedyTokens)?.data ?? [])], expected);
  }
});
