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
    const expected = await readExpected(folder);
    const logits = await model.prefill(0, expected.inputIds, [24], dora);
    const last = logits.subarray(logits.length - expected.logits.length);
    const difference = largestDifference(last, expected.logits);
    assert.ok(difference <= 1e-4, `logits differ by ${difference}`);
    const rows: { expected: Expected; adapter: BankHold | null }[] = [
      { expected, adapter: dora },
      { expected: await readExpected(adapterFolder(family, "patterns")), adapter: lora },
      { expected: await readExpected(`${oracleRoot}/${family}`), adapter: null },
      { expected: await readExpected(adapterFolder(family, "attn-r8")), adapter: small },
    ];
    const tokens = await greedy(model, rows);
    for (const [i, row] of rows.entries()) assert.deepEqual(tokens[i], row.expected.greedyIds, `row ${i}`);
    for (const { adapter } of rows) adapter?.release();
    model.runner[Symbol.dispose]();
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
  const expected = await readExpected(folder);
  const logits = await model.prefill(0, expected.inputIds, [24], biased);
  const difference = largestDifference(logits, expected.logits);
  assert.ok(difference <= 1e-4, `logits differ by ${difference}`);
  const rows: { expected: Expected; adapter: BankHold | null }[] = [
    { expected, adapter: biased },
    { expected: await readExpected(`${oracleRoot}/gpt2`), adapter: null },
    { expected: await readExpected(adapterFolder("gpt2", "attn-r8")), adapter: lora },
  ];
  const tokens = await greedy(model, rows);
  for (const [i, row] of rows.entries()) assert.deepEqual(tokens[i], row.expected.greedyIds, `row ${i}`);
  for (const { adapter } of rows) adapter?.release();
  model.runner[Symbol.dispose]();
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
  const expected = await readExpected(folder);
  const logits = await model.prefill(0, expected.inputIds, [24], biased);
  const difference = largestDifference(logits, expected.logits);
  assert.ok(difference <= 1e-4, `logits differ by ${difference}`);
  const rows: { expected: Expected; adapter: BankHold | null }[] = [
    { expected, adapter: biased },
    { expected: await readExpected(doraFolder), adapter: dora },
    { expected: await readExpected(`${oracleRoot}/llama`), adapter: null },
    { expected: await readExpected(adapterFolder("llama", "patterns")), adapter: lora },
  ];
  const tokens = await greedy(model, rows);
  for (const [i, row] of rows.entries()) assert.deepEqual(tokens[i], row.expected.greedyIds, `row ${i}`);
  for (const { adapter } of rows) adapter?.release();
  model.runner[Symbol.dispose]();
});
