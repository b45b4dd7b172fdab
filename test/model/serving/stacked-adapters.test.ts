/** Adapters as devices take them, against PyTorch and PEFT: prompts through one place, and batches of any mix. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { loadAdapter } from "../../../src/adapter/format.js";
import type { HostAdapter } from "../../../src/adapter/types.js";
import { at } from "../../../src/base/list.js";
import { foldMagnitudes } from "../../../src/engine/adapters/dora-gains.js";
import { openCheckpoint } from "../../../src/model/checkpoint/open.js";
import { targetModules } from "../../../src/model/modules.js";
import { WeightNorms } from "../../../src/weights/norms.js";
import {
  adapterFolder,
  adapterNames,
  type Expected,
  families,
  largestDifference,
  oracleRoot,
  readExpected,
} from "../../support/oracle.js";
import { type GraphForm, ServedGraph } from "../../support/served-graph.js";
import { type Stack, stackOf } from "../../support/stacked-inputs.js";

interface Row {
  readonly expected: Expected;
  /** null: the base. */
  readonly place: number | null;
}

const vocab = 320;

/** Prompts of each row, all but the last token, and then that token of all rows in one batch. */
async function checkMixed(model: ServedGraph, rows: readonly Row[], stack: Stack): Promise<void> {
  for (const [slot, { expected, place }] of rows.entries()) {
    const tokens = expected.inputIds.slice(0, -1);
    const adapters = stack.masked(tokens.map(() => place ?? -1));
    const { length } = expected.inputIds;
    const logits = await model.logits({ tokens: [tokens], slot, starts: [0], length, adapters });
    const found = lastDifference(logits, expected.logits.subarray(0, -vocab));
    assert.ok(found <= 1e-4, `row ${slot}: logits of the prompt differ by ${found}`);
  }
  const logits = await model.logits({
    tokens: rows.map(({ expected }) => expected.inputIds.slice(-1)),
    starts: rows.map(({ expected }) => expected.inputIds.length - 1),
    length: at(rows, 0).expected.inputIds.length,
    adapters: stack.masked(rows.map(({ place }) => place ?? -1)),
  });
  for (const [i, { expected }] of rows.entries()) {
    const found = largestDifference(logits.subarray(i * vocab, (i + 1) * vocab), expected.logits.subarray(-vocab));
    assert.ok(found <= 1e-4, `row ${i}: logits in the batch differ by ${found}`);
  }
}

/** Some expect only the logits of the last tokens. */
const lastDifference = (logits: Float32Array, expected: Float32Array): number =>
  largestDifference(logits.subarray(logits.length - expected.length), expected);

/** One place of several for a whole prompt. */
async function checkPicked(folder: string, form: GraphForm, rows: readonly Row[], adapters: readonly HostAdapter[]) {
  await using model = await ServedGraph.open(folder, { ...form, adapters: "picked" });
  const stack = stackOf(model, adapters);
  for (const { expected, place } of rows) {
    if (place === null) continue;
    const { inputIds } = expected;
    model.fillCache(0); // a new text begins with states of zeros
    const logits = await model.logits({
      tokens: [inputIds],
      starts: [0],
      length: inputIds.length,
      adapters: stack.picked(place),
    });
    const found = lastDifference(logits, expected.logits);
    assert.ok(found <= 1e-4, `place ${place}: logits differ by ${found}`);
  }
}

for (const family of families) {
  test(`${family}: the base and three adapters of different ranks in one masked batch, and each picked, give PyTorch's logits`, async () => {
    const folder = join(oracleRoot, family);
    const modules = targetModules((await openCheckpoint(folder)).config);
    const names = adapterNames(family).slice(0, 3);
    const adapters = await Promise.all(names.map((name) => loadAdapter(adapterFolder(family, name), modules)));
    const rows: Row[] = [{ expected: await readExpected(folder), place: null }];
    for (const [place, name] of names.entries()) {
      rows.push({ expected: await readExpected(adapterFolder(family, name)), place });
    }
    await checkPicked(folder, {}, rows, adapters);
    await using model = await ServedGraph.open(folder, { adapters: "masked" });
    await checkMixed(model, rows, stackOf(model, adapters));
  });
}

for (const family of ["llama", "qwen2", "gpt2"]) {
  test(`${family}: gains beside other adapters and the base give PEFT's logits`, async () => {
    const folder = join(oracleRoot, family);
    const checkpoint = await openCheckpoint(folder);
    const modules = targetModules(checkpoint.config);
    await using norms = new WeightNorms(checkpoint, { threads: 1 });
    const doraFolder = `test/fixtures/dora/${family}`;
    const name = "attn-r8";
    const lora = await loadAdapter(adapterFolder(family, name), modules);
    const dora = await foldMagnitudes(await loadAdapter(doraFolder, modules), norms);
    const rows: Row[] = [
      { expected: await readExpected(doraFolder), place: 1 },
      { expected: await readExpected(adapterFolder(family, name)), place: 0 },
      { expected: await readExpected(folder), place: null },
    ];
    await checkPicked(folder, { gains: true }, rows, [lora, dora]);
    await using model = await ServedGraph.open(folder, { adapters: "masked", gains: true });
    await checkMixed(model, rows, stackOf(model, [lora, dora]));
  });
}

test("a token's logits keep their bits even if other positions hold values that overflow", async () => {
  const folder = join(oracleRoot, "llama");
  const { inputIds } = await readExpected(folder);
  const adapter = await loadAdapter(
    adapterFolder("llama", "attn-r8"),
    targetModules((await openCheckpoint(folder)).config),
  );
  const huge: HostAdapter = {
    ...adapter,
    modules: new Map(
      [...adapter.modules].map(([path, module]) => [
        path,
        { ...module, dtype: "F32", a: new Float32Array(module.a.length).fill(3e38) },
      ]),
    ),
  };
  await using model = await ServedGraph.open(folder, { adapters: "masked" });
  const step = (places: number[], adapters: HostAdapter[]) =>
    model.logits({ tokens: [inputIds], starts: [0], adapters: stackOf(model, adapters).masked(places) });
  const own = await step(
    inputIds.map(() => 0),
    [adapter, adapter],
  );
  const beside = await step(
    inputIds.map(() => 0),
    [adapter, huge],
  );
  assert.deepEqual(beside, own);
});
