/** The serving graph against PyTorch: every family, the base and every adapter, whole prompts, chunks and mixed batches. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { loadAdapter } from "../../src/adapter/format.js";
import type { HostAdapter } from "../../src/adapter/types.js";
import { at } from "../../src/base/list.js";
import type { BankHold } from "../../src/engine/adapters/bank.js";
import { foldMagnitudes } from "../../src/engine/adapters/dora-gains.js";
import { Pooler } from "../../src/engine/pooler.js";
import type { DecodeRow } from "../../src/engine/runner.js";
import { openCheckpoint } from "../../src/model/checkpoint/open.js";
import { storedModules, targetModules } from "../../src/model/modules.js";
import { SafetensorsFile } from "../../src/tensor/safetensors.js";
import { WeightNorms } from "../../src/weights/norms.js";
import { testArithmetic, testDevice } from "../support/device.js";
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
import { relativeDistance } from "../support/relative-distance.js";
import { agreement, greedy, type OpenedModel, openModel } from "../support/served-model.js";
import { writeWrapped } from "../support/wrapped-model.js";

/** Of logits. A device whose attention computes in float16 alone rounds more. */
const bound = testArithmetic.cacheType === "float16" ? 2e-2 : 1e-4;

/** The same bits; on CUDA, whose products add up in an order that depends on the number of rows, nearly the same numbers. */
function assertSame(found: Float32Array, expected: Float32Array, message: string): void {
  if (testDevice.kind === "cuda") assert.ok(largestDifference(found, expected) <= bound, message);
  else assert.deepEqual(found, expected, message);
}

/** Every greedy token; behind attention in float16 nearly every one, as near ties may turn. */
async function assertTokens(
  model: OpenedModel,
  rows: readonly { readonly expected: Expected; readonly adapter: BankHold | null }[],
): Promise<void> {
  if (testArithmetic.cacheType === "float16") {
    const share = await agreement(model, rows);
    assert.ok(share >= 0.95, `${share} of the tokens are PyTorch's`);
    return;
  }
  const tokens = await greedy(model, rows);
  for (const [i, { expected }] of rows.entries()) assert.deepEqual(tokens[i], expected.greedyIds);
}

/** A vector of a text that is read in two chunks. */
async function vectorOf(
  { runner, cache, bank }: OpenedModel,
  ids: readonly number[],
  adapter: BankHold | null,
  mode: "last" | "mean",
): Promise<Float32Array> {
  const pooler = new Pooler({ modes: [mode], place: ids.length - 1 }, ids.length);
  for (const [start, end] of [
    [0, 14],
    [14, ids.length],
  ] as const) {
    const tokens = ids.slice(start, end);
    const chunk = { slot: 0, start, tokens, length: ids.length, allRows: pooler.readsAll, adapter };
    pooler.add(start, tokens.length, await runner.prefill({ ...chunk, output: "hidden" }, cache, bank));
  }
  return pooler.finish().vector;
}

/** The last token's state and the mean of all. */
async function assertVectors(
  model: OpenedModel,
  ids: readonly number[],
  adapter: BankHold | null,
  name: string,
): Promise<void> {
  await using file = await SafetensorsFile.open("test/fixtures/decoder-heads/vectors.safetensors");
  const expected = await file.readFloat32(name);
  const size = model.config.hiddenSize;
  for (const [i, mode] of (["last", "mean"] as const).entries()) {
    const found = await vectorOf(model, ids, adapter, mode);
    const distance = relativeDistance(found, expected.subarray(i * size, (i + 1) * size));
    assert.ok(distance <= (bound > 1e-4 ? bound : 2e-5), `${name}, ${mode}: ${distance}`);
  }
}

for (const family of families) {
  test(`${family}: logits, greedy tokens and vectors of the base and every adapter equal PyTorch's, mixed in one batch`, async () => {
    const model = await openModel(join(oracleRoot, family));
    const base = await readExpected(join(oracleRoot, family));
    const rows: { expected: Expected; adapter: BankHold | null }[] = [{ expected: base, adapter: null }];
    await model.runner.prepare(null, "hidden");
    await assertVectors(model, base.inputIds, null, `${family}/base`);
    for (const name of adapterNames(family)) {
      const folder = adapterFolder(family, name);
      const adapter = await loadAdapter(folder, targetModules(model.config), {});
      const hold = await model.bank.acquire(adapter);
      assert.ok(hold, "the bank has room");
      await model.runner.prepare(adapter, "hidden");
      await assertVectors(model, base.inputIds, hold, `${family}/${name}`);
      rows.push({ expected: await readExpected(folder), adapter: hold });
    }
    for (const { expected, adapter } of rows) {
      const logits = await model.prefill(0, expected.inputIds, [24], adapter);
      const difference = largestDifference(logits, expected.logits);
      assert.ok(difference <= bound, `${adapter?.digest ?? "base"}: logits differ by ${difference}`);
    }
    await assertTokens(model, rows);
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
      assert.ok(largestDifference(logits, expected.logits) <= bound);
      model.runner[Symbol.dispose]();
    } finally {
      await rm(folder, { recursive: true });
    }
  });
}

test("qwen3_5: the text part of a checkpoint that reads images gives the logits of the text checkpoint", async () => {
  const folder = await mkdtemp(join(tmpdir(), "lorikeet-wrapped-"));
  try {
    await writeWrapped(join(oracleRoot, "qwen3_5_text"), folder);
    const model = await openModel(folder);
    const expected = await readExpected(join(oracleRoot, "qwen3_5_text"));
    const logits = await model.prefill(0, expected.inputIds, [24], null);
    assert.ok(largestDifference(logits, expected.logits) <= bound);
    model.runner[Symbol.dispose]();
  } finally {
    await rm(folder, { recursive: true });
  }
});

for (const [what, name] of [
  ["an AdaLoRA adapter", "adalora"],
  ["an adapter of the head, saved with the base's own head,", "lm-head"],
] as const) {
  test(`llama: logits and greedy tokens through ${what} equal PyTorch's`, async () => {
    const model = await openModel(join(oracleRoot, "llama"));
    const folder = join("test/fixtures/adapter-format", name);
    const modules = storedModules(await openCheckpoint(join(oracleRoot, "llama")));
    const adapter = await model.bank.acquire(await loadAdapter(folder, modules));
    const expected = await readExpected(folder);
    const logits = await model.prefill(0, expected.inputIds, [24], adapter);
    assert.ok(largestDifference(logits, expected.logits) <= bound);
    await assertTokens(model, [{ expected, adapter }]);
    adapter?.release();
    model.runner[Symbol.dispose]();
  });
}

for (const [family, name, what] of [
  ["llama", "embedding", "the embeddings and a layer"],
  ["smollm3", "embedding-tied", "embeddings that the head is tied to"],
  ["gpt2", "biases-all", "the biases of layers and normalizations"],
  ["gemma2", "norms", "normalizations saved whole"],
  ["llama", "tokens", "rows of single tokens, some of the embeddings and others of the head"],
] as const) {
  test(`${family}: logits and greedy tokens through an adapter of ${what} equal PyTorch's, beside rows of the base`, async () => {
    const model = await openModel(join(oracleRoot, family));
    const folder = join("test/fixtures/adapter-format", name);
    const loaded = await loadAdapter(folder, storedModules(model.checkpoint));
    await model.runner.prepare(loaded);
    if (!testDevice.capabilities.hostMemory) {
      await assert.rejects(async () => model.bank.acquire(loaded), /which only the CPU does/);
    } else {
      const adapter = await model.bank.acquire(loaded);
      const expected = await readExpected(folder);
      const base = await readExpected(join(oracleRoot, family));
      const logits = await model.prefill(0, expected.inputIds, [24], adapter);
      const difference = largestDifference(logits, expected.logits);
      assert.ok(difference <= bound, `logits differ by ${difference}`);
      await assertTokens(model, [
        { expected, adapter },
        { expected: base, adapter: null },
      ]);
      await model.runner.prepare(loaded, "hidden");
      assert.ok((await vectorOf(model, expected.inputIds, adapter, "last")).every(Number.isFinite));
      adapter?.release();
    }
    model.runner[Symbol.dispose]();
  });
}

test("smollm3: adapters of the tied head, of the embeddings and of both equal PyTorch's in one batch of two rank classes", async () => {
  const model = await openModel(join(oracleRoot, "smollm3"));
  const base = await readExpected(join(oracleRoot, "smollm3"));
  const modules = storedModules(model.checkpoint);
  const rows: { expected: Expected; adapter: BankHold | null }[] = [];
  for (const name of ["head-tied", "head-tied-dora", "both-tied"]) {
    const folder = join("test/fixtures/adapter-format", name);
    const loaded = await foldMagnitudes(
      await loadAdapter(folder, modules),
      new WeightNorms(model.checkpoint, { threads: 1 }),
    );
    if (!testDevice.capabilities.hostMemory) {
      const message =
        name === "both-tied" ? /the embeddings, which only the CPU does/ : /tied .*, and only the CPU does that/;
      await assert.rejects(async () => model.bank.acquire(loaded), message);
      continue;
    }
    await model.runner.prepare(loaded);
    rows.push({ expected: await readExpected(folder), adapter: await model.bank.acquire(loaded) });
  }
  if (rows.length > 0) {
    const other = await loadAdapter(adapterFolder("smollm3", "all-r4-rslora"), modules);
    for (const { expected, adapter } of [...rows, { expected: base, adapter: null }]) {
      const logits = await model.prefill(0, expected.inputIds, [24], adapter);
      const difference = largestDifference(logits, expected.logits);
      assert.ok(difference <= bound, `${adapter?.digest}: logits differ by ${difference}`);
    }
    await assertTokens(model, [...rows, { expected: base, adapter: null }]);
    // Rows that leave the head alone share a step with one that changes it.
    const wide = await model.bank.acquire(widened(other, 40));
    const expected = await readExpected(adapterFolder("smollm3", "all-r4-rslora"));
    await assertTokens(model, [{ expected, adapter: wide }, ...rows.slice(0, 2), { expected: base, adapter: null }]);
  }
  model.runner[Symbol.dispose]();
});

test("smollm3: trained rows of tied embeddings, of both tables apart, and with an adapter of the head equal PyTorch's in one batch", async () => {
  const model = await openModel(join(oracleRoot, "smollm3"));
  const base = await readExpected(join(oracleRoot, "smollm3"));
  const rows: { expected: Expected; adapter: BankHold | null }[] = [];
  for (const name of ["tokens-tied", "tokens-tied-head", "tokens-tied-apart"]) {
    const folder = join("test/fixtures/adapter-format", name);
    const loaded = await loadAdapter(folder, storedModules(model.checkpoint));
    await model.runner.prepare(loaded);
    if (testDevice.capabilities.hostMemory) {
      const adapter = await model.bank.acquire(loaded);
      const expected = await readExpected(folder);
      const logits = await model.prefill(0, expected.inputIds, [24], adapter);
      const difference = largestDifference(logits, expected.logits);
      assert.ok(difference <= bound, `${name}: logits differ by ${difference}`);
      rows.push({ expected, adapter });
    } else await assert.rejects(async () => model.bank.acquire(loaded), /trainable_token_indices.*which only the CPU/);
  }
  const all = [...rows, { expected: base, adapter: null }];
  await assertTokens(model, all);
  // Whoever shares a row's step leaves its bits alone.
  for (const [slot, { expected, adapter }] of all.entries())
    await model.prefill(slot, expected.inputIds, [24], adapter);
  const steps = all.map(({ adapter }) => ({ token: 7, length: 24, adapter }));
  const alone = (await model.decode(steps.slice(0, 1))).slice();
  assert.deepEqual((await model.decode(steps)).slice(0, alone.length), alone);
  model.runner[Symbol.dispose]();
});

/** The same adapter with ranks of zeros behind its own. */
function widened(adapter: HostAdapter, rank: number): HostAdapter {
  const modules = new Map(
    Array.from(adapter.modules, ([path, module]) => {
      const { a, b, rank: own } = module;
      const wideA = new Float32Array((a.length / own) * rank);
      for (let i = 0; i < a.length; i++) wideA[Math.floor(i / own) * rank + (i % own)] = at(a as Float32Array, i);
      const wideB = new Float32Array((b.length / own) * rank);
      wideB.set(b);
      return [path, { ...module, rank, a: wideA, b: wideB }] as const;
    }),
  );
  return { ...adapter, digest: `${adapter.digest} wide`, rank, modules };
}

/** A model and some of its adapters, held. */
async function openHeld(family: string) {
  const model = await openModel(join(oracleRoot, family));
  const { inputIds } = await readExpected(join(oracleRoot, family));
  const holds: (BankHold | null)[] = [];
  for (const name of adapterNames(family)) {
    holds.push(
      await model.bank.acquire(await loadAdapter(adapterFolder(family, name), targetModules(model.config), {})),
    );
  }
  return { model, inputIds, holds };
}

async function checkIndependence(family: string): Promise<void> {
  const { model, inputIds, holds } = await openHeld(family);
  const { vocabSize } = model.config;
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
  assertSame(chunked, together, "chunking changes no bit");
  // Each row alone: in slot 0, with nobody beside it.
  for (const [slot, ids] of prompts.entries()) {
    await model.prefill(0, ids, [ids.length], adapters[slot] ?? null);
    const alone = (await model.decode([{ ...step(slot) }])).slice(0, vocabSize);
    assertSame(alone, together.slice(slot * vocabSize, (slot + 1) * vocabSize), `row ${slot} alone`);
  }
  model.runner[Symbol.dispose]();
}

/** One whose layers all have attention, and those with states beside keys and values. */
const withStates = ["lfm2", "qwen3_5_text"];

for (const family of ["llama", ...withStates]) {
  test(`${family}: a row's bits do not depend on its neighbours, on their adapters or on chunking`, () =>
    checkIndependence(family));
}

for (const family of withStates) {
  test(`${family}: states are those of a slot's own tokens, through odd chunks, steps of other rows, moves and new texts`, async () => {
    const { model, inputIds, holds } = await openHeld(family);
    const { vocabSize } = model.config;
    const [adapter = null, other = null] = holds;
    /** Tokens in each slot: the other rows of a step write behind them. */
    const lengths = [0, 0, 0, 0];
    const dummy = (slot: number): DecodeRow => ({
      token: 3,
      length: at(lengths, slot),
      adapter: null,
      keepsStates: true,
    });
    const next = async (slot: number, hold: BankHold | null): Promise<Float32Array> => {
      const rows = lengths.slice(0, slot).map((_, i) => dummy(i));
      const logits = await model.decode([...rows, { token: 7, length: at(lengths, slot), adapter: hold }]);
      return logits.slice(slot * vocabSize, (slot + 1) * vocabSize);
    };
    const read = async (slot: number, ids: number[], hold: BankHold | null): Promise<Float32Array> => {
      lengths[slot] = ids.length;
      return (await model.prefill(slot, ids, [ids.length], hold)).slice();
    };
    const whole = await read(1, inputIds, adapter);
    const expected = await next(1, adapter);

    // Another text was there before; its own is read in odd chunks, and steps of other rows come between them.
    await read(1, inputIds.toReversed(), other);
    const logits = new Float32Array(whole.length);
    let start = 0;
    for (const size of [1, 7, 2, 3, 1, 10]) {
      const chunk = {
        slot: 1,
        start,
        tokens: inputIds.slice(start, start + size),
        length: 24,
        allRows: true,
        adapter,
      };
      logits.set(await model.runner.prefill(chunk, model.cache, model.bank), start * vocabSize);
      start += size;
      lengths[1] = start;
      await read(2, inputIds.slice(0, 9), other);
      await next(2, other);
    }
    assert.ok(largestDifference(logits, whole) <= bound, "in chunks");
    assert.ok(largestDifference(await next(1, adapter), expected) <= bound, "after chunks");

    await read(1, inputIds, adapter);
    await model.cache.copy(1, 3, 24);
    lengths[3] = 24;
    await read(1, inputIds.toReversed(), other);
    assertSame(await next(3, adapter), expected, "moved to another slot");
    for (const hold of holds) hold?.release();
    model.runner[Symbol.dispose]();
  });
}
