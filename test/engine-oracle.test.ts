/** The serving graph against PyTorch: every family, the base and every adapter, whole prompts, chunks and mixed batches. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { loadAdapter } from "../src/adapter/format.js";
import { AdapterBank, type BankHold } from "../src/engine/bank.js";
import { KvCache } from "../src/engine/kv-cache.js";
import { type DecodeRow, Runner } from "../src/engine/runner.js";
import { openCheckpoint } from "../src/model/checkpoint.js";
import { prepareWeights } from "../src/model/convert.js";
import { planWeights } from "../src/model/quantize-plan.js";
import { linearSites } from "../src/model/sites.js";
import { writeOldCheckpoint } from "./support/old-spelling.js";
import {
  adapterFolder,
  adapterNames,
  type Expected,
  families,
  largestDifference,
  oracleRoot,
  readExpected,
} from "./support/oracle.js";

const capacity = 64;
const slots = 4;

async function open(directory: string) {
  const checkpoint = await openCheckpoint(directory);
  const { config, tensors } = checkpoint;
  const { weights } = await prepareWeights(checkpoint, planWeights(config, tensors, { dtype: "fp32" }));
  const session = { threads: 1 };
  const runner = await Runner.create({
    config,
    weights,
    capacity,
    maxRows: slots,
    session,
    exact: true,
    evenRows: false,
  });
  const { layerCount: layers, kvHeadCount: kvHeads, headDim } = config;
  const cache = new KvCache({ layers, kvHeads, headDim, slots, capacity });
  const bank = new AdapterBank({ groups: runner.groups, places: slots, maxBytes: 1 << 26 });
  const { vocabSize } = config;

  const prefill = async (slot: number, ids: number[], chunks: number[], adapter: BankHold | null) => {
    const logits = new Float32Array(ids.length * vocabSize);
    let start = 0;
    for (const size of chunks) {
      const tokens = ids.slice(start, start + size);
      logits.set(
        await runner.prefill({ slot, start, tokens, allLogits: true, adapter }, cache, bank),
        start * vocabSize,
      );
      start += size;
    }
    return logits;
  };
  const decode = (rows: readonly DecodeRow[]) => runner.decode(rows, cache, bank);
  return { config, runner, bank, prefill, decode };
}

type Opened = Awaited<ReturnType<typeof open>>;

function argmax(row: Float32Array): number {
  let best = 0;
  for (let i = 1; i < row.length; i++) if ((row[i] as number) > (row[best] as number)) best = i;
  return best;
}

/** Greedy tokens of several sequences in one batch, prompts in two chunks. */
async function greedy(model: Opened, rows: readonly { expected: Expected; adapter: BankHold | null }[]) {
  const { vocabSize } = model.config;
  const out: number[][] = [];
  for (const [slot, { expected, adapter }] of rows.entries()) {
    const logits = await model.prefill(slot, expected.inputIds, [14, 10], adapter);
    out.push([...expected.inputIds, argmax(logits.subarray(23 * vocabSize))]);
  }
  while ((out[0]?.length ?? 0) < 48) {
    const logits = await model.decode(
      rows.map(({ adapter }, slot) => ({
        token: out[slot]?.at(-1) ?? 0,
        length: (out[slot]?.length ?? 1) - 1,
        adapter,
      })),
    );
    for (const [slot, ids] of out.entries())
      ids.push(argmax(logits.subarray(slot * vocabSize, (slot + 1) * vocabSize)));
  }
  return out;
}

for (const family of families) {
  test(`${family}: logits and greedy tokens of the base and every adapter equal PyTorch's, mixed in one batch`, async () => {
    const model = await open(join(oracleRoot, family));
    const base = await readExpected(join(oracleRoot, family));
    const rows: { expected: Expected; adapter: BankHold | null }[] = [{ expected: base, adapter: null }];
    for (const name of adapterNames(family)) {
      const folder = adapterFolder(family, name);
      const adapter = await loadAdapter(folder, linearSites(model.config), {});
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

  test(`${family}: the older spelling of the checkpoint gives the same logits`, async () => {
    const folder = await mkdtemp(join(tmpdir(), "lorikeet-old-"));
    try {
      await writeOldCheckpoint(join(oracleRoot, family), folder);
      const model = await open(folder);
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
  const model = await open(join(oracleRoot, "llama"));
  const folder = "test/fixtures/adapter-format/adalora";
  const adapter = await model.bank.acquire(await loadAdapter(folder, linearSites(model.config), {}));
  const expected = await readExpected(folder);
  const logits = await model.prefill(0, expected.inputIds, [24], adapter);
  assert.ok(largestDifference(logits, expected.logits) <= 1e-4);
  const [tokens] = await greedy(model, [{ expected, adapter }]);
  assert.deepEqual(tokens, expected.greedyIds);
  adapter?.release();
  model.runner[Symbol.dispose]();
});

test("a row's bits do not depend on its neighbours, on their adapters or on chunking", async () => {
  const model = await open(join(oracleRoot, "llama"));
  const { vocabSize } = model.config;
  const { inputIds } = await readExpected(join(oracleRoot, "llama"));
  const holds: (BankHold | null)[] = [];
  for (const name of adapterNames("llama")) {
    holds.push(
      await model.bank.acquire(await loadAdapter(adapterFolder("llama", name), linearSites(model.config), {})),
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
