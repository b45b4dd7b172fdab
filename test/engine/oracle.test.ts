/** The serving graph against PyTorch: every family, the base and every adapter, whole prompts, chunks and mixed batches. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { loadAdapter } from "../../src/adapter/format.js";
import type { BankHold } from "../../src/engine/adapters/bank.js";
import type { DecodeRow } from "../../src/engine/runner.js";
import { targetModules } from "../../src/model/modules.js";
import { hasOldSpelling, writeOldCheckpoint } from "../support/old-spelling.js";
import {
  adapterFolder,
  adapterNames,
  type Expected,
  families,
  largestDifference,
  oracleRoot,
  readExpected,
} from "../support/oracle.js";
import { greedy, openModel } from "../support/served-model.js";

for (const family of families) {
  test(`${family}: logits and greedy tokens of the base and every adapter equal PyTorch's, mixed in one batch`, async () => {
    const model = await openModel(join(oracleRoot, family));
    const base = await readExpected(join(oracleRoot, family));
    const rows: { expected: Expected; adapter: BankHold | null }[] = [{ expected: base, adapter: null }];
    for (const name of adapterNames(family)) {
      const folder = adapterFolder(family, name);
      const adapter = await loadAdapter(folder, targetModules(model.config), {});
      const hold = await model.bank.acquire(adapter);
      assert.ok(hold, "the bank has room");
      rows.push({ expected: await readExpected(folder), adapter: hold });
    }
    for (const { expected, adapter } of rows) {
      const logits = await model.prefill(0, expected.inputIds, [24], adapter);
      const difference = largestDifference(logits, expected.logits);
      assert.ok(difference <= 1e-4, `${adapter?.digest ?? "base"}: logits differ by ${difference}`);
    }
    const tokens = await greedy(model, rows);
    for (const [i, { expected }] of rows.entries()) assert.deepEqual(tokens[i], expected.greedyIds);
    for (const { adapter } of rows) adapter?.release();
    model.runner[Symbol.dispose]();
  });

  if (!hasOldSpelling(family)) continue;
  test(`${family}: the older spelling of the checkpoint gives the same logits`, async () => {
    const folder = await mkdtemp(join(tmpdir(), "lorikeet-old-"));
    try {
      await writeOldCheckpoint(join(oracleRoot, family), folder);
      const model = await openModel(folder);
      const expected = await readExpected(join(oracleRoot, family));
      const logits = await model.prefill(0, expected.inputIds, [24], null);
      assert.ok(largestDifference(logits, expected.logits) <= 1e-4);
      model.runner[Symbol.dispose]();
    } finally {
      await rm(folder, { recursive: true });
    }
  });
}

test("llama: logits and greedy tokens through an AdaLoRA adapter equal PyTorch's", async () => {
  const model = await openModel(join(oracleRoot, "llama"));
  const folder = "test/fixtures/adapter-format/adalora";
  const adapter = await model.bank.acquire(await loadAdapter(folder, targetModules(model.config), {}));
  const expected = await readExpected(folder);
  const logits = await model.prefill(0, expected.inputIds, [24], adapter);
  assert.ok(largestDifference(logits, expected.logits) <= 1e-4);
  const [tokens] = await greedy(model, [{ expected, adapter }]);
  assert.deepEqual(tokens, expected.greedyIds);
  adapter?.release();
  model.runner[Symbol.dispose]();
});

test("a row's bits do not depend on its neighbours, on their adapters or on chunking", async () => {
  const model = await openModel(join(oracleRoot, "llama"));
  const { vocabSize } = model.config;
  const { inputIds } = await readExpected(join(oracleRoot, "llama"));
  const holds: (BankHold | null)[] = [];
  for (const name of adapterNames("llama")) {
    holds.push(
      await model.bank.acquire(await loadAdapter(adapterFolder("llama", name), targetModules(model.config), {})),
    );
  }
  const prompts = [inputIds, inputIds.slice(3), inputIds.slice(5), inputIds.slice(1)];
  const adapters = [holds[0] ?? null, holds[0] ?? null, holds[1] ?? null, null];
  const step = (slot: number): DecodeRow => ({
    token: 7,
    length: prompts[slot]?.length ?? 0,
    adapter: adapters[slot] ?? null,
  });
  const fill = async (chunks: (ids: number[]) => number[]) => {
    for (const [slot, ids] of prompts.entries()) await model.prefill(slot, ids, chunks(ids), adapters[slot] ?? null);
  };
  await fill((ids) => [ids.length]);
  const together = (await model.decode([0, 1, 2, 3].map(step))).slice();
  await fill((ids) => [6, 4, ids.length - 10]);
  const chunked = (await model.decode([0, 1, 2, 3].map(step))).slice();
  assert.deepEqual(chunked, together, "chunking changes no bit");
  // Each row alone: in slot 0, with nobody beside it.
  for (const [slot, ids] of prompts.entries()) {
    await model.prefill(0, ids, [ids.length], adapters[slot] ?? null);
    const alone = (await model.decode([{ ...step(slot) }])).slice(0, vocabSize);
    assert.deepEqual(alone, together.slice(slot * vocabSize, (slot + 1) * vocabSize), `row ${slot} alone`);
  }
  model.runner[Symbol.dispose]();
});
