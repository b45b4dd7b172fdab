/** Keys and values in float16 through the engine's parts, on the CPU and on a card: how near its numbers come to PyTorch's float32. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { loadAdapter } from "../../src/adapter/format.js";
import { longestRightChunk } from "../../src/engine/attention-check.js";
import { targetModules } from "../../src/model/modules.js";
import { skipOnDevice as skip, testDevice, webgpu } from "../support/device.js";
import { adapterFolder, largestDifference, oracleRoot, readExpected } from "../support/oracle.js";
import { agreement, openModel } from "../support/served-model.js";

/** Logits of this model span 8; its weights are random, so scores are larger than those of a trained one. */
const bound = 2e-2;
const folder = join(oracleRoot, "llama");

test(`with a float16 cache logits are within ${bound} of PyTorch's, and greedy tokens agree`, { skip }, async () => {
  const model = await openModel(folder, { dtype: "fp32" }, undefined, { cacheType: "float16" });
  const base = await readExpected(folder);
  const found = await model.prefill(1, base.inputIds, [14, base.inputIds.length - 14], null);
  const difference = largestDifference(found, base.logits);
  assert.ok(difference <= bound, `logits differ by ${difference}`);

  const source = adapterFolder("llama", "all-r4-rslora");
  const adapter = await loadAdapter(source, targetModules(model.config), {});
  const adapted = { expected: await readExpected(source), adapter: await model.bank.acquire(adapter) };
  const share = await agreement(model, [{ expected: base, adapter: null }, adapted]);
  assert.ok(share >= 0.95, `${share} of the tokens are PyTorch's`);
});

test("attention in float16 is compared with float32 before it is trusted", { skip: webgpu.skip }, async () => {
  assert.equal(testDevice.capabilities.float16, true);
  const { config } = await openModel(folder);
  assert.ok((await longestRightChunk(testDevice, config, 16, "float16")) === 16);
});
