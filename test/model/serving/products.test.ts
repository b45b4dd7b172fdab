/** Products of the base: joined, as one for queries, keys and values and one for gate and up; and with exact activations over blocks. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { loadAdapter } from "../../../src/adapter/format.js";
import { openCheckpoint } from "../../../src/model/checkpoint/open.js";
import { targetModules } from "../../../src/model/modules.js";
import { adapterFolder, largestDifference, oracleRoot, readExpected } from "../../support/oracle.js";
import { type GraphForm, ServedGraph } from "../../support/served-graph.js";
import { stackOf } from "../../support/stacked-inputs.js";

/** A folder for converted weights, removed after the test. */
async function newCache() {
  const directory = await mkdtemp(join(tmpdir(), "lorikeet-products-"));
  return { directory, [Symbol.asyncDispose]: () => rm(directory, { recursive: true }) };
}

const products = ({ graph }: ServedGraph): number =>
  graph.nodes.filter(({ op }) => op === "Gemm" || op === "MatMulNBits").length;

for (const [family, saved] of [
  ["llama", 9],
  ["qwen2", 9], // biases
  ["qwen3", 9], // norms of heads
  ["gemma2", 9], // softcap
  ["starcoder2", 4], // no gate
] as const) {
  for (const form of [{}, { target: { plainAttention: "all" } }] satisfies GraphForm[]) {
    const name = "target" in form ? "plain attention" : "the attention kernel";
    test(`${family}: joined weights under ${name} give PyTorch's logits, without adapters and with masked ones`, async () => {
      const folder = join(oracleRoot, family);
      await using cache = await newCache();
      const cacheDirectory = cache.directory;
      const plan = { dtype: "fp32", pack: true } as const;
      const { inputIds, logits } = await readExpected(folder);
      await using apart = await ServedGraph.open(folder, form);
      await using model = await ServedGraph.open(folder, { ...form, plan, cacheDirectory });
      assert.equal(products(apart) - products(model), saved);
      const found = await model.logits({ tokens: [inputIds], starts: [0] });
      assert.ok(largestDifference(found, logits) <= 1e-4);

      const own = adapterFolder(family, "patterns");
      const adapter = await loadAdapter(own, targetModules((await openCheckpoint(folder)).config));
      await using adapted = await ServedGraph.open(folder, { ...form, plan, cacheDirectory, adapters: "masked" });
      const adapters = stackOf(adapted, [adapter]).masked(inputIds.map(() => 0));
      const expected = await readExpected(own);
      const masked = await adapted.logits({ tokens: [expected.inputIds], starts: [0], adapters });
      assert.ok(largestDifference(masked, expected.logits) <= 1e-4);
    });
  }
}

test("accuracy level 0 asks every product over blocks, the head's too, for exact activations", async () => {
  await using cache = await newCache();
  const plan = { dtype: "int4", pack: true } as const;
  await using model = await ServedGraph.open(join(oracleRoot, "llama"), {
    plan,
    cacheDirectory: cache.directory,
    target: { accuracyLevel: 0 },
  });
  const levels = model.graph.nodes.flatMap(({ op, attributes }) =>
    op === "MatMulNBits" ? [attributes.accuracy_level?.value] : [],
  );
  assert.equal(levels.length, 3 * 4 + 1);
  assert.deepEqual(new Set(levels), new Set([0]));
});
