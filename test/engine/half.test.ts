/** float16 through the engine's parts, on the CPU and on a card: how near its numbers come to PyTorch's float32. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { loadAdapter } from "../../src/adapter/format.js";
import { longestRightChunk } from "../../src/engine/attention-check.js";
import { targetModules } from "../../src/model/modules.js";
import { skipOnDevice as skip, testDevice, webgpu } from "../support/device.js";
import { adapterFolder, largestDifference, oracleRoot, readExpected } from "../support/oracle.js";
import { agreement, openModel } from "../support/served-model.js";

const folder = join(oracleRoot, "llama");
const cacheDirectory = await mkdtemp(join(tmpdir(), "lorikeet-half-"));
after(() => rm(cacheDirectory, { recursive: true }));

/** Logits of this model span 8; its weights are random, so scores are larger than those of a trained one. */
const cached = { plan: { dtype: "fp32" }, arithmetic: { cacheType: "float16" }, bound: 2e-2 } as const;
const whole = {
  plan: { dtype: "fp16" },
  arithmetic: { cacheType: "float16", activationType: "float16" },
  bound: 6e-2,
} as const;

async function check({ plan, arithmetic, bound }: typeof cached | typeof whole): Promise<void> {
  const model = await openModel(folder, plan, cacheDirectory, { arithmetic });
  const base = await readExpected(folder);
  const found = await model.prefill(1, base.inputIds, [14, base.inputIds.length - 14], null);
  const difference = largestDifference(found, base.logits);
  assert.ok(difference <= bound, `logits differ by ${difference}`);

  const source = adapterFolder("llama", "all-r4-rslora");
  const adapter = await loadAdapter(source, targetModules(model.config), {});
  const adapted = { expected: await readExpected(source), adapter: await model.bank.acquire(adapter) };
  const share = await agreement(model, [{ expected: base, adapter: null }, adapted]);
  assert.ok(share >= 0.95, `${share} of the tokens are PyTorch's`);
}

test("with a float16 cache logits are near PyTorch's, and greedy tokens agree", { skip }, () => check(cached));

test("in float16 altogether logits are near PyTorch's, and greedy tokens agree", { skip: webgpu.skip }, () =>
  check(whole),
);

test("a number that float16 does not hold is refused in an adapter", { skip: webgpu.skip }, async () => {
  const { config, bank } = await openModel(folder, whole.plan, cacheDirectory, whole);
  const adapter = await loadAdapter(adapterFolder("llama", "all-r4-rslora"), targetModules(config), {});
  const modules = [...adapter.modules].map(([path, module]) => [path, { ...module, scale: 1e9 }] as const);
  await assert.rejects(bank.acquire({ ...adapter, modules: new Map(modules) }), {
    code: "adapter_invalid",
    allowed: 65_504,
  });
});

test("attention in float16 is compared with float32 before it is trusted", { skip: webgpu.skip }, async () => {
  assert.equal(testDevice.capabilities.float16, true);
  const { config } = await openModel(folder);
  assert.ok((await longestRightChunk(testDevice, config, 16, "float16")) === 16);
});
