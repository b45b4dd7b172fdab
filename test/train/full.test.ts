/** `train --method full` as a process, on a tiny model in BF16: its checkpoint opens, answers and has the loss that training said. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { openCheckpoint } from "../../src/model/checkpoint/open.js";
import { finish, killAll, start } from "../support/process.js";
import { writeTinyModel } from "../support/tiny-model.js";

const folder = mkdtempSync(join(tmpdir(), "lorikeet-full-"));
after(() => {
  killAll();
  rmSync(folder, { recursive: true, force: true });
});

const base = join(folder, "tiny");
const data = join(folder, "data");
const recipe = [
  ...["train", "--model", base, "--data", data, "--method", "full", "--max-steps", "40", "--eval-steps", "5"],
  ...[
    "--batch-size",
    "4",
    "--gradient-accumulation-steps",
    "2",
    "--max-length",
    "64",
    "--learning-rate",
    "0.002",
    "--save-total-limit",
    "2",
  ],
  ...["--cache-dir", join(folder, "cache")],
];

before(async () => {
  await writeTinyModel(base, "BF16");
  writeFileSync(join(base, "README.md"), "Of the base.\n");
  mkdirSync(data);
  const rows = (from: number, to: number): string =>
    Array.from(
      { length: to - from },
      (_, i) => `${JSON.stringify({ text: `The ${from + i}th bell rings twice.` })}\n`,
    ).join("");
  writeFileSync(join(data, "train.jsonl"), rows(0, 40));
  writeFileSync(join(data, "valid.jsonl"), rows(40, 52));
});

const weightsOf = (out: string): Buffer => readFileSync(join(out, "model.safetensors"));

test("a run's checkpoint serves with training's loss, and a resumed run ends with the same bytes", async () => {
  const whole = join(folder, "out", "whole");
  const { out, err, code } = await finish(...recipe, "--output-dir", whole, "--json");
  assert.equal(code, 0, err);
  const results = JSON.parse(out);
  const { parameterCount } = await openCheckpoint(base);
  assert.equal(results.trainable_parameters, parameterCount);
  assert.ok(results.validation_loss < 0.7 * results.base_validation_loss, out);
  const { trained, served } = results.served_check;
  assert.ok(Math.abs(trained - served) < 1e-4, `${trained} trained, ${served} served`);
  assert.match(err, /method +full, every weight: .* trained\n/);
  assert.match(err, /sample 2\n.*\n +before .*\n +after /);

  const made = await openCheckpoint(whole);
  for (const { name, dtype } of made.tensors.values()) assert.equal(dtype, "BF16", name);
  const judged = await finish("eval", "--model", whole, "--data", data, "--json");
  assert.equal(judged.code, 0, judged.err);
  const { loss } = JSON.parse(judged.out);
  assert.ok(Math.abs(loss - results.written_validation_loss) < 1e-4, `${loss} by eval`);
  assert.ok(Math.abs(loss - results.validation_loss) < 0.02, "rounding to the base's dtype costs little");
  const card = readFileSync(join(whole, "README.md"), "utf8");
  assert.match(card, /library_name: transformers\n/);
  assert.doesNotMatch(card, /\| rank \|/);
  const same = ["tokenizer.json", "tokenizer_config.json", "generation_config.json", "config.json"];
  for (const name of same) assert.ok(readFileSync(join(whole, name)).equals(readFileSync(join(base, name))), name);
  for (const name of ["lorikeet.json", "training.jsonl", "training.svg"])
    assert.ok(existsSync(join(whole, name)), name);
  const answer = await finish("generate", "--model", whole, "--max-tokens", "4", "The 7th");
  assert.equal(answer.code, 0, answer.err);

  const steps = readdirSync(join(whole, "checkpoints"));
  assert.ok(steps.length >= 2 && steps.length <= 3, steps.join(" "));
  for (const step of steps) {
    const kept = await openCheckpoint(join(whole, "checkpoints", step));
    for (const { name, dtype } of kept.tensors.values()) assert.equal(dtype, "F32", `${name}: nothing is rounded`);
  }

  const target = join(folder, "out", "killed");
  const run = start([...recipe, "--output-dir", target]);
  for (let i = 0; !run.out.includes("step 10/40"); i++) {
    assert.ok(i < 2000 && run.child.exitCode === null, run.out + run.err);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  run.child.kill("SIGKILL");
  assert.equal(await run.ended, "SIGKILL");
  assert.ok(!existsSync(target), "nothing is there until it is whole");
  const again = await finish("train", "--resume", "--output-dir", target);
  assert.equal(again.code, 0, again.err);
  assert.match(again.out, /resuming after step/);
  assert.match(again.out, /\nTry it with: .*lorikeet serve --model .*killed\n$/);
  assert.ok(weightsOf(target).equals(weightsOf(whole)), "the same bytes");

  const further = [...recipe, "--model", whole, "--max-steps", "2", "--output-dir", join(folder, "out", "further")];
  assert.equal((await finish(...further)).code, 0);
  assert.doesNotMatch(readFileSync(join(folder, "out", "further", "training.jsonl"), "utf8"), /"step":40/);
});

test("adapter options are refused, and a dry run writes nothing", async () => {
  const out = join(folder, "out", "never");
  const wrong = await finish(...recipe, "--output-dir", out, "--lora-r", "8", "--lora-dropout", "0.1");
  assert.equal(wrong.code, 2);
  assert.match(wrong.err, /--lora-r is for adapters/);
  assert.match(wrong.err, /--lora-dropout is for adapters/);
  const dry = await finish(...recipe, "--output-dir", out, "--dry-run");
  assert.equal(dry.code, 0, dry.err);
  assert.match(dry.out, /memory +about .* of .*\ntime +about/);
  assert.ok(!existsSync(out));
  assert.ok(!existsSync(join(folder, "out", ".training", "never", "run")));
});
