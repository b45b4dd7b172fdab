/** DoRA's files and weights: PEFT's own bytes, a start that changes nothing, and a merged base that computes what was trained. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { openCheckpoint } from "../../src/model/checkpoint/open.js";
import { startMagnitudes } from "../../src/train/dora.js";
import { openAdapter, saveAdapter } from "../../src/train/files/adapter-files.js";
import { mergeAdapter } from "../../src/train/files/merge.js";
import { allLinear, chooseModules, initialize, peftTargetModules } from "../../src/train/lora.js";
import { TrainStep } from "../../src/train/step.js";
import { WeightNorms } from "../../src/weights/norms.js";
import { planWeights } from "../../src/weights/plan.js";
import { prepareWeights } from "../../src/weights/prepare.js";

const folder = mkdtempSync(join(tmpdir(), "lorikeet-dora-"));
after(() => rmSync(folder, { recursive: true }));
const oracle = "test/fixtures/oracle";
const peft = join(oracle, "llama", "train-dora", "initial");

const ids = Int32Array.from({ length: 40 }, (_, i) => (i * 53) % 320);
const batch = { rows: 2, length: 20, ids, labels: ids };

async function stepOf(path: string, { dora = true, alpha = 8 } = {}) {
  const checkpoint = await openCheckpoint(path);
  const { config, tensors } = checkpoint;
  const { weights } = await prepareWeights(checkpoint, planWeights(config, tensors, { dtype: "fp32" }));
  const norms = new WeightNorms(checkpoint, { threads: 1 });
  const shape = { rank: 4, alpha, rslora: false };
  const modules = chooseModules(config, [allLinear], shape);
  const trained = new Map(modules.map(({ path: at, rank, scale }) => [at, { rank, scale }]));
  const step = TrainStep.create({
    ...{ config, weights, modules: trained, mode: "lora", dora, norms, maxLength: 64, chunks: 1, threads: 1 },
  });
  return { checkpoint, step, modules, shape };
}

test("weights are PEFT's byte for byte, the config is a part of PEFT's", async () => {
  const { checkpoint, step, modules, shape } = await stepOf(join(oracle, "llama"));
  using _ = step;
  const opened = await openAdapter(peft, checkpoint.config);
  assert.equal(opened.dora, true);
  await opened.readInto(step.parameters);
  const out = join(folder, "saved");
  const facts = {
    shape,
    modules,
    targetModules: peftTargetModules(checkpoint.config, [allLinear], modules),
    dropout: 0,
  };
  const more = { dora: true, baseModelName: "llama", fanInFanOut: false, labels: null };
  await saveAdapter(out, { ...facts, ...more }, step.parameters);
  const bytes = (path: string): Buffer => readFileSync(join(path, "adapter_model.safetensors"));
  assert.ok(bytes(out).equals(bytes(peft)), "adapter_model.safetensors");
  const read = (path: string) => JSON.parse(readFileSync(join(path, "adapter_config.json"), "utf8"));
  const theirs = read(peft);
  for (const [key, value] of Object.entries(read(out))) {
    if (key === "init_lora_weights") continue; // the oracle's B was drawn, which PEFT notes as false
    assert.deepEqual(value, key === "target_modules" ? [...theirs[key]].sort() : theirs[key], key);
  }
});

test("a merged base computes the same as base and adapter", async () => {
  const { checkpoint, step } = await stepOf(join(oracle, "llama"));
  using _ = step;
  await (await openAdapter(peft, checkpoint.config)).readInto(step.parameters);
  const { loss } = await step.evaluate(batch);
  const out = join(folder, "merged");
  await mergeAdapter({ checkpoint, adapter: peft, out, dtype: "fp32", overwrite: false });
  const merged = await stepOf(out, { dora: false });
  using other = merged.step;
  assert.ok(Math.abs((await other.evaluate(batch)).loss - loss) < 1e-5);
});

for (const family of ["llama", "gpt2", "qwen2"]) {
  test(`${family}: with B at zero and magnitudes at the weights' own the loss is the base's`, async () => {
    const { step } = await stepOf(join(oracle, family));
    using trained = step;
    initialize(trained.parameters, 1);
    await startMagnitudes(trained);
    const plain = await stepOf(join(oracle, family), { dora: false });
    using base = plain.step;
    const { loss } = await base.evaluate(batch, { weights: "base" });
    assert.ok(Math.abs((await trained.evaluate(batch)).loss - loss) < 1e-6);
    for (const parameter of trained.parameters) parameter.data.fill(0.3);
    assert.equal((await trained.evaluate(batch, { weights: "base" })).loss, loss, "without the adapter it is the base");
    initialize(trained.parameters, 1);
    const random = Float32Array.from(trained.values, (value, i) => value + 0.01 * Math.sin(i));
    trained.values.set(random);
    await startMagnitudes(trained);
    for (const { name, data } of base.parameters) {
      data.set(trained.parameters.find((parameter) => parameter.name === name)?.data ?? []);
    }
    const adapted = (await base.evaluate(batch)).loss;
    assert.ok(Math.abs((await trained.evaluate(batch)).loss - adapted) < 1e-5, "and LoRA's, whatever B is");
    assert.ok(Math.abs(adapted - loss) > 1e-4);
  });
}
