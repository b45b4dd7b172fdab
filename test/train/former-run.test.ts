/** Runs that an earlier version began, before the options took PEFT's and transformers' names, continue under the present names. */
import assert from "node:assert/strict";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { withPresentNames } from "../../src/cli/train/former-run.js";
import { SafetensorsFile } from "../../src/tensor/safetensors.js";
import { isStepRow, readJournal } from "../../src/train/reports/journal.js";
import { runHere } from "../support/program.js";
import { writeTinyModel } from "../support/tiny-model.js";

const fixture = "test/fixtures/train/former-run";
const folder = mkdtempSync(join(tmpdir(), "lorikeet-former-run-"));
after(() => rmSync(folder, { recursive: true, force: true }));
const model = join(folder, "tiny");
before(() => writeTinyModel(model, "F32"));
const data = join(folder, "rows.jsonl");
writeFileSync(
  data,
  Array.from(
    { length: 24 },
    (_, i) => `${JSON.stringify({ prompt: `Say ${i}:`, completion: ` it is ${i}${".".repeat(i % 5)}` })}\n`,
  ).join(""),
);
const cache = join(folder, "cache");

/** The options of the fixture under their present names. */
const asked = [
  ["--learning-rate", "0.01", "--warmup-steps", "4", "--lr-scheduler-type", "linear", "--min-lr-rate", "0.2"],
  ["--batch-size", "2", "--gradient-accumulation-steps", "2", "--max-length", "64", "--max-grad-norm", "0.5"],
  ["--adam-beta1", "0.8", "--adam-beta2", "0.99", "--adam-epsilon", "1e-7", "--lora-r", "2", "--lora-alpha", "8"],
  ["--target-modules", "q_proj,v_proj", "--lora-dropout", "0.1", "--use-rslora", "--loraplus-lr-ratio", "4"],
  ["--eval-steps", "2", "--early-stopping-patience", "50", "--validation-split", "0.25", "--max-eval-samples", "4"],
  [
    "--save-total-limit",
    "1",
    "--epochs",
    "4",
    "--threads",
    "1",
    "--model",
    model,
    "--data",
    data,
    "--cache-dir",
    cache,
  ],
].flat();

test("an unfinished run of the former version ends like a complete run of this version", async () => {
  const outputDir = join(folder, "adapters", "stopped");
  const home = join(folder, "adapters", ".training", "stopped");
  mkdirSync(home, { recursive: true });
  cpSync(join(fixture, "run"), join(home, "run"), { recursive: true });
  const paths = { model, data, "cache-dir": cache, out: outputDir };
  const stored = { ...JSON.parse(readFileSync(join(fixture, "options.json"), "utf8")), ...paths };
  writeFileSync(join(home, "options.json"), JSON.stringify(stored));

  const changed = await runHere(["train", "--resume", "--output-dir", outputDir, "--lora-r", "4"]);
  assert.equal(changed.code, 2);
  assert.match(changed.err, /--lora-r was 2 when this run began/);
  const resumed = await runHere(["train", "--resume", "--output-dir", outputDir]);
  assert.equal(resumed.code, 0, resumed.err);
  assert.match(resumed.out, /after step 8/);

  const whole = join(folder, "adapters", "whole");
  const fresh = await runHere(["train", ...asked, "--output-dir", whole]);
  assert.equal(fresh.code, 0, fresh.err);
  assert.deepEqual(settingsIn(outputDir), settingsIn(whole));
  const steps = (await readJournal(join(outputDir, "training.jsonl"))).filter(isStepRow);
  assert.ok(steps.length > 8 && steps.every((row) => row.learning_rate > 0 && !("rate" in row)));
  assert.doesNotMatch(readFileSync(join(outputDir, "training.svg"), "utf8"), /NaN/);
  // The first eight steps of the fixture ran on another machine.
  const [one, other] = [await weightsIn(outputDir), await weightsIn(whole)];
  assert.deepEqual([...one.keys()], [...other.keys()]);
  for (const [name, values] of one) {
    for (const [i, value] of values.entries()) {
      assert.ok(Math.abs(value - (other.get(name)?.[i] ?? Number.NaN)) < 1e-4, `${name}[${i}]`);
    }
  }
});

test("a finished run of the former version gets more steps", async () => {
  const outputDir = join(folder, "adapters", "finished");
  cpSync(join(fixture, "run"), outputDir, { recursive: true });
  const resume = [
    "train",
    "--resume",
    "--output-dir",
    outputDir,
    "--model",
    model,
    "--data",
    data,
    "--cache-dir",
    cache,
  ];
  const { code, err } = await runHere([...resume, "--threads", "1", "--epochs", "2"]);
  assert.equal(code, 0, err);
  const { settings, results } = JSON.parse(readFileSync(join(outputDir, "lorikeet.json"), "utf8"));
  assert.deepEqual([results.steps, settings.loraR, settings.targetModules], [10, 2, ["q_proj", "v_proj"]]);
});

test("the former pair of warm-up options becomes the steps that it meant", () => {
  const record = (rows: number) => ({
    data: { ...JSON.parse(readFileSync(join(fixture, "run", "lorikeet.json"), "utf8")).data, train_rows: rows },
  });
  const run = { epochs: 3, batch: 8, accumulate: 2 };
  const cases = [
    [{ "warm-up": 0.03, "warm-up-steps": 5 }, 160, undefined],
    [{ "warm-up": 0, "warm-up-steps": 7 }, 160, 7],
    [{ "warm-up": 0, "warm-up-steps": 0 }, 160, 0],
    [{ "warm-up": 0.1, "warm-up-steps": 0 }, 161, 3], // 3 x 11 steps
    [{ "warm-up": 0.5, "warm-up-steps": 5 }, 160, 15],
    [{ "warm-up": 0.5, "warm-up-steps": 5, steps: 100 }, 160, 50],
    [{ "warm-up": 0.5, "warm-up-steps": 5, packing: true }, 160, 0.5],
  ] as const;
  for (const [pair, rows, expected] of cases) {
    const options = withPresentNames({ ...run, ...pair }, record(rows), {});
    assert.equal(options["warmup-steps"], expected, JSON.stringify(pair));
    assert.ok(!("warm-up" in options) && !("batch" in options));
  }
  const longer = withPresentNames({ ...run, "warm-up": 0.5, "warm-up-steps": 0, steps: 10 }, record(160), {
    epochs: "6",
  });
  assert.equal(longer["warmup-steps"], 30, "as before, a fraction of the new number of steps");
});

const settingsIn = (folder: string): unknown =>
  JSON.parse(readFileSync(join(folder, "lorikeet.json"), "utf8")).settings;

async function weightsIn(folder: string): Promise<Map<string, Float32Array>> {
  await using file = await SafetensorsFile.open(join(folder, "adapter_model.safetensors"));
  const weights = new Map<string, Float32Array>();
  for (const name of file.tensors.keys()) weights.set(name, await file.readFloat32(name));
  return weights;
}
