/** One product for queries, keys and values and one for gate and up, where their weights are joined: the same logits, fewer nodes. */
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
      const cacheDirectory = await mkdtemp(join(tmpdir(), "lorikeet-joined-"));
      const plan = { dtype: "fp32", pack: true } as const;
      const { inputIds, logits } = await readExpected(folder);
      try {
        await using apart = await ServedGraph.open(folder, form);
        await using model = await ServedGraph.open(folder, { ...form, plan, cacheDirectory });
        assert.equal(products(apart) - products(model), saved);
        const found = await model.logits({ tokens: [inputIds], starts: [0] });
        assert.ok(largestDifference(found, logits) <= 1e-4);

        const own = adapterFolder(family, "patterns");
        const adapter = await loadAdapter(own, targetModules((await openCheckpoint(folder)).config));
        await using adapted = await ServedGraph.open(folder, { ...form, plan, cacheDirectory, adapters: "masked" });
        const adapters = stackOf(adapted.graph, [adapter]).masked(inputIds.map(() => 0));
        const expected = await readExpected(own);
        const masked = await adapted.logits({ tokens: [expected.inputIds], starts: [0], adapters });
        assert.ok(largestDifference(masked, expected.logits) <= 1e-4);
      } finally {
        await rm(cacheDirectory, { recursive: true });
      }
    });
  }
}
