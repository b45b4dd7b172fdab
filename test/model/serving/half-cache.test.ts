/** Keys and values in float16 around activations in float32: how far logits are from PyTorch's in float32. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { openCheckpoint } from "../../../src/model/checkpoint/open.js";
import { cacheShape, kvBytesPerToken } from "../../../src/model/serving/cache-shape.js";
import type { ServingTarget } from "../../../src/model/serving/target.js";
import type { PlanOptions } from "../../../src/weights/plan.js";
import { families, largestDifference, oracleRoot, readExpected } from "../../support/oracle.js";
import { ServedGraph } from "../../support/served-graph.js";

const cacheDirectory = await mkdtemp(join(tmpdir(), "lorikeet-half-"));
after(() => rm(cacheDirectory, { recursive: true }));

/** Logits of these models span 3 to 12; their weights are random, so scores are larger than those of trained ones. */
const bound = 2e-2;
/** Where everything is computed in float16. */
const wideBound = 4e-2;

function largestOf(row: Float32Array): number {
  return row.indexOf(Math.max(...row));
}

async function check(family: string, target: ServingTarget, plan: PlanOptions = { dtype: "fp32" }): Promise<void> {
  const folder = join(oracleRoot, family);
  const most = target.activationType === "float16" ? wideBound : bound;
  const { inputIds, logits } = await readExpected(folder);
  await using model = await ServedGraph.open(folder, {
    plan,
    cacheDirectory,
    target: { ...target, cacheType: "float16" },
  });
  const { length } = inputIds;
  const vocab = logits.length / length;
  const compare = (found: Float32Array, first: number): void => {
    const expected = logits.subarray(first * vocab, first * vocab + found.length);
    const difference = largestDifference(found, expected);
    assert.ok(difference <= most, `logits from token ${first} differ by ${difference}`);
    assert.equal(largestOf(found.subarray(-vocab)), largestOf(expected.subarray(-vocab)));
  };
  compare(await model.logits({ tokens: [inputIds.slice(0, 16)], starts: [0], length }), 0);
  compare(await model.logits({ tokens: [inputIds.slice(16, -1)], starts: [16], length }), 16);
  compare(await model.logits({ tokens: [inputIds.slice(-1)], starts: [length - 1], length }), length - 1);
}

for (const family of families) {
  test(`${family}: with a cache of float16 logits stay within ${bound} of PyTorch's and the next token is the same`, () =>
    check(family, {}));
}

for (const family of families) {
  test(`${family}: with weights and activations of float16 as well, within ${wideBound}`, () =>
    check(family, { activationType: "float16" }, { dtype: "fp16" }));
}

test("gemma2: plain attention does as well with a cache of float16", () =>
  check("gemma2", { plainAttention: "softcap" }));
test("llama: plain attention of prompts does as well with a cache of float16", () =>
  check("llama", { plainAttention: "all" }));

test("keys and values of float16 take half the bytes", async () => {
  const { config } = await openCheckpoint(join(oracleRoot, "llama"));
  const [half, whole] = [cacheShape(config, { cacheType: "float16" }), cacheShape(config)];
  assert.equal(kvBytesPerToken(half) * 2, kvBytesPerToken(whole));
});
