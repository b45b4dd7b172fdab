/** Attention from single operators against PyTorch and against the attention kernel: whole prompts, chunks, decode steps, rows of any length. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { openCheckpoint } from "../../../src/model/checkpoint/open.js";
import { attentions } from "../../../src/model/modules.js";
import type { ServingTarget } from "../../../src/model/serving/target.js";
import { Tensor } from "../../../src/runtime/tensor.js";
import { families, largestDifference, oracleRoot, readExpected } from "../../support/oracle.js";
import { ServedGraph } from "../../support/served-graph.js";

/** Logits of a text in two chunks and three single tokens, then of a batch of slots of different lengths. */
async function texts(folder: string, target: ServingTarget): Promise<Float32Array[]> {
  await using model = await ServedGraph.open(folder, { target });
  const { inputIds } = await readExpected(folder);
  const found: Float32Array[] = [];
  let start = 0;
  for (const size of [14, 7, 1, 1, 1]) {
    found.push(await model.logits({ tokens: [inputIds.slice(start, start + size)], starts: [start] }));
    start += size;
  }
  const lengths = [start, 4, 12];
  await model.run({ tokens: [inputIds.slice(2, 6)], starts: [0], slot: 1 });
  await model.run({ tokens: [inputIds.slice(7, 19)], starts: [0], slot: 2 });
  const decoded = inputIds.slice(0, 3).map((id) => [id]);
  found.push(await model.logits({ tokens: decoded, starts: lengths }));
  return found;
}

for (const family of families) {
  test(`${family}: plain attention of a whole prompt gives PyTorch's logits`, async () => {
    const folder = join(oracleRoot, family);
    await using model = await ServedGraph.open(folder, { target: { plainAttention: "all" } });
    const { inputIds, logits } = await readExpected(folder);
    const found = await model.logits({ tokens: [inputIds], starts: [0], length: inputIds.length });
    const difference = largestDifference(found, logits);
    assert.ok(difference <= 1e-4, `logits differ by ${difference}`);
  });

  test(`${family}: plain attention equals the kernel's`, async () => {
    const folder = join(oracleRoot, family);
    const { config } = await openCheckpoint(folder);
    const capped = attentions(config).some(({ softcap }) => softcap !== null);
    const kernel = await texts(folder, {});
    for (const plainAttention of capped ? (["softcap", "all"] as const) : (["all"] as const)) {
      const plain = await texts(folder, { plainAttention });
      for (const [i, expected] of kernel.entries()) {
        const difference = largestDifference(plain[i] as Float32Array, expected);
        assert.ok(difference <= 1e-5, `${plainAttention}: logits of step ${i} differ by ${difference}`);
      }
    }
  });
}

for (const [family, plainAttention] of [
  ["gemma2", "softcap"],
  ["llama", "all"],
] as const) {
  test(`${family}: a row ignores what an earlier text left in its slot, however large`, async () => {
    const folder = join(oracleRoot, family);
    const { inputIds, logits } = await readExpected(folder);
    await using model = await ServedGraph.open(folder, { target: { plainAttention } });
    model.fillCache(1e30);
    const found = await model.logits({ tokens: [inputIds], starts: [0] });
    assert.ok(largestDifference(found, logits) <= 1e-4);
  });

  test(`${family}: values that overflow reach the cache as finite numbers`, async () => {
    const folder = join(oracleRoot, family);
    const { inputIds } = await readExpected(folder);
    await using model = await ServedGraph.open(folder, { target: { plainAttention }, adapters: "single" });
    const adapters = Object.fromEntries(
      model.graph.inputs
        .filter(({ name }) => name.startsWith("lora_"))
        .map(({ name, shape }) => {
          const sizes = shape.map((size) => (typeof size === "number" ? size : 1));
          const tensor = Tensor.zeros("float32", sizes);
          if (name.includes("v_proj")) tensor.data.fill(1e30);
          return [name, tensor];
        }),
    );
    await model.run({ tokens: [inputIds], starts: [0], adapters });
    assert.ok(model.cached("past.0.value").every((value) => Math.abs(value) <= Math.fround(1e30)));
    assert.ok(model.cached("past.0.value").some((value) => Math.abs(value) === Math.fround(1e30)));
  });
}
