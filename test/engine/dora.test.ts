/** DoRA adapters that PEFT made, served as they are: PEFT's own logits and greedy tokens, among rows of LoRA and of the base. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { loadAdapter } from "../../src/adapter/format.js";
import type { HostAdapter } from "../../src/adapter/types.js";
import type { BankHold } from "../../src/engine/adapters/bank.js";
import { foldMagnitudes } from "../../src/engine/adapters/dora-gains.js";
import { storedModules, targetModules } from "../../src/model/modules.js";
import { WeightNorms } from "../../src/weights/norms.js";
import { testDevice } from "../support/device.js";
import { adapterFolder, type Expected, largestDifference, oracleRoot, readExpected } from "../support/oracle.js";
import { greedy, type OpenedModel, openModel } from "../support/served-model.js";

async function hold({ bank, runner }: OpenedModel, adapter: HostAdapter): Promise<BankHold> {
  await runner.prepare(adapter);
  const held = await bank.acquire(adapter);
  assert.ok(held, "the bank has room");
  return held;
}

interface Row {
  /** Where PEFT's answers lie. */
  readonly folder: string;
  readonly adapter: BankHold | null;
}

/** Compares the first row's logits, and then the tokens of all rows in one batch, with PEFT's. Releases the adapters and closes the model. */
async function checkMixed(model: OpenedModel, rows: readonly [Row, ...Row[]]): Promise<void> {
  const expected = await readExpected(rows[0].folder);
  const logits = await model.prefill(0, expected.inputIds, [24], rows[0].adapter);
  const last = logits.subarray(logits.length - expected.logits.length);
  const difference = largestDifference(last, expected.logits);
  assert.ok(difference <= 1e-4, `logits differ by ${difference}`);
  const asked: { expected: Expected; adapter: BankHold | null }[] = [];
  for (const { folder, adapter } of rows) asked.push({ expected: await readExpected(folder), adapter });
  const tokens = await greedy(model, asked);
  for (const [i, row] of asked.entries()) assert.deepEqual(tokens[i], row.expected.greedyIds, `row ${i}`);
  for (const { adapter } of rows) adapter?.release();
  model.runner[Symbol.dispose]();
}

for (const family of ["llama", "qwen2", "gpt2"]) {
  test(`${family}: logits and greedy tokens of DoRA equal PEFT's, mixed with LoRA and the base in one batch`, async () => {
    const model = await openModel(`${oracleRoot}/${family}`);
    const modules = targetModules(model.config);
    await using norms = new WeightNorms(model.checkpoint, { threads: 1 });
    const folder = `test/fixtures/dora/${family}`;
    const loaded = await loadAdapter(folder, modules);
    assert.equal(loaded.hasGains, true);
    const dora = await hold(model, await foldMagnitudes(loaded, norms));
    const lora = await hold(model, await loadAdapter(adapterFolder(family, "patterns"), modules));
    const small = await hold(model, await loadAdapter(adapterFolder(family, "attn-r8"), modules));
    await checkMixed(model, [
      { folder, adapter: dora },
      { folder: adapterFolder(family, "patterns"), adapter: lora },
      { folder: `${oracleRoot}/${family}`, adapter: null },
      { folder: adapterFolder(family, "attn-r8"), adapter: small },
    ]);
  });
}

const skip = testDevice.capabilities.hostMemory ? false : "only the CPU adds biases";

test("gpt2: logits and greedy tokens of DoRA with trained biases equal PEFT's, mixed with LoRA and the base in one batch", {
  skip,
}, async () => {
  const model = await openModel(`${oracleRoot}/gpt2`);
  const modules = storedModules(model.checkpoint);
  await using norms = new WeightNorms(model.checkpoint, { threads: 1 });
  const folder = "test/fixtures/adapter-format/biases";
  const biased = await hold(model, await foldMagnitudes(await loadAdapter(folder, modules), norms));
  const lora = await hold(model, await loadAdapter(adapterFolder("gpt2", "attn-r8"), modules));
  await checkMixed(model, [
    { folder, adapter: biased },
    { folder: `${oracleRoot}/gpt2`, adapter: null },
    { folder: adapterFolder("gpt2", "attn-r8"), adapter: lora },
  ]);
});

test("llama: logits and greedy tokens of lora_bias equal PEFT's, mixed with DoRA, LoRA and the base in one batch", {
  skip,
}, async () => {
  const model = await openModel(`${oracleRoot}/llama`);
  const modules = targetModules(model.config);
  await using norms = new WeightNorms(model.checkpoint, { threads: 1 });
  const folder = "test/fixtures/adapter-format/lora-bias";
  const loaded = await foldMagnitudes(await loadAdapter(folder, modules), norms);
  assert.equal(loaded.hasGains, true);
  const biased = await hold(model, loaded);
  const doraFolder = "test/fixtures/dora/llama";
  const dora = await hold(model, await foldMagnitudes(await loadAdapter(doraFolder, modules), norms));
  const lora = await hold(model, await loadAdapter(adapterFolder("llama", "patterns"), modules));
  await checkMixed(model, [
    { folder, adapter: biased },
    { folder: doraFolder, adapter: dora },
    { folder: `${oracleRoot}/llama`, adapter: null },
    { folder: adapterFolder("llama", "patterns"), adapter: lora },
  ]);
});
