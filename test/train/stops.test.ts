/** Runs that are killed, interrupted, starved of disk or diverge, as processes on a tiny model: they resume bit for bit, or report what was saved. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { onlyWhenLong } from "../support/long.js";
import { commandOf, finish, killAll, type Run, start } from "../support/process.js";
import { writeTinyModel } from "../support/tiny-model.js";

const folder = mkdtempSync(join(tmpdir(), "lorikeet-stops-"));
after(() => {
  killAll();
  rmSync(folder, { recursive: true, force: true });
});
const base = join(folder, "tiny");
before(() => writeTinyModel(base, "F32"));

const write = (name: string, row: (i: number) => object): string => {
  const path = join(folder, name);
  writeFileSync(path, Array.from({ length: 40 }, (_, i) => `${JSON.stringify(row(i))}\n`).join(""));
  return path;
};
const rows = write("rows.jsonl", (i) => ({ prompt: `Say ${i}:`, completion: ` it is ${i}${".".repeat(i % 7)}` }));
const pairs = write("pairs.jsonl", (i) => ({ prompt: `Item ${i} is`, chosen: " good.", rejected: " not good." }));

const common = [
  "--model",
  base,
  "--cache-dir",
  join(folder, "cache"),
  "--max-length",
  "64",
  "--learning-rate",
  "0.004",
];
const steps = ["--max-steps", "40", "--eval-steps", "4", "--batch-size", "4", "--gradient-accumulation-steps", "2"];
const outOf = (name: string): string => join(folder, "out", name);
const weightsOf = (out: string): Buffer => readFileSync(join(out, "adapter_model.safetensors"));

async function until(run: Run, text: string): Promise<void> {
  for (let i = 0; !run.out.includes(text); i++) {
    assert.ok(i < 20_000 && run.child.exitCode === null, `${text} in ${run.out} ${run.err}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

const variants: Readonly<Record<string, readonly string[]>> = {
  dropout: ["--data", rows, "--lora-dropout", "0.2", "--loraplus-lr-ratio", "4", "--use-rslora"],
  packing: ["--data", rows, "--packing", "--gradient-checkpointing"],
  dpo: ["--data", pairs, "--method", "dpo", "--lora-dropout", "0.1"],
  int8: ["--data", rows, "--dtype", "int8"],
  int4: ["--data", pairs, "--dtype", "int4", "--method", "dpo"],
};
for (const [name, options] of Object.entries(variants)) {
  test(
    `${name}: a killed and resumed run on two threads ends with the bytes of an uninterrupted one on one thread`,
    onlyWhenLong,
    async () => {
      const asked = ["train", ...common, ...steps, ...options];
      const whole = outOf(name);
      const { out, err, code } = await finish(...asked, "--threads", "1", "--output-dir", whole, "--json");
      assert.equal(code, 0, err);
      const { validation_loss, base_validation_loss, served_check: check } = JSON.parse(out);
      assert.ok(validation_loss < base_validation_loss, out);
      assert.ok(check.difference < (name.startsWith("int") ? 0.02 * check.trained : 1e-4), out);

      const target = outOf(`${name}-killed`);
      const run = start([...asked, "--threads", "2", "--output-dir", target]);
      await until(run, "step 12/40");
      run.child.kill("SIGKILL");
      await run.ended;
      assert.ok(!existsSync(target), "nothing is there until it is whole");
      const again = await finish("train", "--resume", "--output-dir", target);
      assert.equal(again.code, 0, again.err);
      assert.match(again.out, /resuming after step/);
      assert.match(
        again.out,
        /\nTry it with: .*lorikeet serve --model .* --adapters .*\nOr drop the folder .*-killed on .*\n$/,
      );
      assert.ok(weightsOf(target).equals(weightsOf(whole)), "the same bytes");
      const losses = (from: string): string =>
        readFileSync(join(from, "training.jsonl"), "utf8").replace(/,"seconds":[^}]*/g, "");
      assert.equal(losses(target), losses(whole), "the same journal");
    },
  );
}

test("a first signal saves, a second ends at once, and a suspended run keeps its lock", async () => {
  const asked = ["train", ...common, ...steps, "--data", rows];
  const whole = outOf("signals");
  assert.equal((await finish(...asked, "--output-dir", whole)).code, 0);
  for (const [name, signals, endings] of [
    ["once", ["SIGTERM"], [143]],
    ["twice", ["SIGINT", "SIGTERM"], [130, 143]], // whichever of the two came second
  ] as const) {
    const target = outOf(name);
    const run = start([...asked, "--output-dir", target]);
    await until(run, "step 8/40");
    run.child.kill("SIGSTOP"); // it must not end before another has tried, and both signals are to come together
    if (name === "once") {
      const second = await finish(...asked, "--output-dir", target);
      assert.equal(second.code, 1);
      assert.match(second.err, /Another process is training into/);
    }
    for (const signal of signals) run.child.kill(signal);
    run.child.kill("SIGCONT");
    const code = await run.ended;
    assert.ok(
      endings.some((ending) => ending === code),
      `${code}`,
    );
    const told = /Stopped after step (\d+) of 40\. Resume with: (?:npx )?lorikeet train --resume --output-dir/.exec(
      run.out,
    );
    assert.equal(told !== null, signals.length === 1, `${run.out} ${run.err}`);
    const again = await finish("train", "--resume", "--output-dir", target);
    assert.equal(again.code, 0, again.err);
    if (told) assert.ok(again.out.includes(`resuming after step ${told[1]}\n`), again.out);
    assert.ok(weightsOf(target).equals(weightsOf(whole)), name);
  }
});

test("a run killed while it writes its result resumes to the same result", async () => {
  const asked = ["train", ...common, ...steps, "--data", rows];
  const target = outOf("late");
  const run = start([...asked, "--output-dir", target]);
  await until(run, "step 40/40  validation");
  run.child.kill("SIGKILL");
  await run.ended;
  // The machine may have been quick enough to end it.
  if (!existsSync(target)) assert.equal((await finish("train", "--resume", "--output-dir", target)).code, 0);
  assert.ok(
    weightsOf(target).equals(weightsOf(outOf("signals"))),
    "the bytes of the run before, which was not stopped",
  );
  assert.ok(existsSync(join(target, "README.md")));
});

test("a full disk ends a run with its last checkpoint and says how to resume", {
  skip: process.platform === "win32",
}, async () => {
  const asked = ["train", ...common, ...steps, "--data", rows, "--lora-r", "2"];
  const whole = outOf("room");
  assert.equal((await finish(...asked, "--output-dir", whole)).code, 0);
  const target = outOf("no-room");
  // A shell's limit on the bytes of one file stands for a full disk: the journal passes it after some steps.
  const limited = 'trap "" XFSZ; ulimit -f 8; exec "$@"';
  const big = [...asked, "--output-dir", target, "--cache-dir", join(folder, "cache")];
  const run = spawnSync("sh", ["-c", limited, "sh", ...commandOf(big)], { encoding: "utf8" });
  assert.equal(run.status, 8, run.stdout + run.stderr);
  assert.match(
    run.stderr,
    /lorikeet: A file would exceed .*\n.*Resume with: (?:npx )?lorikeet train --resume --output-dir/,
  );
  const again = await finish("train", "--resume", "--output-dir", target);
  assert.equal(again.code, 0, again.err);
  assert.ok(weightsOf(target).equals(weightsOf(whole)), "the same bytes");
});

test("a diverging run saves its best weights and says where", async () => {
  const out = outOf("diverged");
  const wild = ["--method", "full", "--learning-rate", "10", "--max-grad-norm", "0", "--weight-decay", "10"];
  const { code, err } = await finish("train", ...common, ...steps, "--data", rows, ...wild, "--output-dir", out);
  assert.equal(code, 2, err);
  const kept =
    /The loss diverged after \d+ steps .*The weights of step \d+ are saved: (\S+)\. Try a lower --learning-rate/.exec(
      err,
    );
  assert.ok(kept?.[1] === out && existsSync(join(out, "model.safetensors")), err);
  const { results } = JSON.parse(readFileSync(join(out, "lorikeet.json"), "utf8"));
  assert.deepEqual(
    [results.ended, results.kept_step, results.validation_loss],
    [...["diverged", results.best_step, results.best_validation_loss]],
  );
  assert.ok(Number.isFinite(results.served_check.served), "what is saved answers");
});

test("the result has the last weights, or the best on request or with early stopping, which more steps continue", async () => {
  const data = join(folder, "overfit");
  mkdirSync(data);
  const row = (i: number, answer: string): string => `${JSON.stringify({ prompt: `Say ${i}:`, completion: answer })}\n`;
  writeFileSync(join(data, "train.jsonl"), row(1, " yes").repeat(8));
  writeFileSync(join(data, "valid.jsonl"), row(2, " yes") + row(3, " nonsense that nobody says"));
  const asked = [
    "train",
    ...common,
    "--data",
    data,
    "--batch-size",
    "4",
    "--gradient-accumulation-steps",
    "1",
    "--eval-steps",
    "4",
  ];
  const fast = [
    ...asked,
    "--learning-rate",
    "0.05",
    "--lr-scheduler-type",
    "constant",
    "--save-total-limit",
    "50",
    "--json",
  ];
  const ends: Record<string, { kept_step: number; best_step: number; steps: number; validation_loss: number }> = {};
  for (const [name, more] of Object.entries({
    last: ["--max-steps", "24"],
    best: ["--max-steps", "24", "--load-best-model-at-end"],
    patience: ["--max-steps", "60", "--early-stopping-patience", "2"],
  })) {
    const target = outOf(`kept-${name}`);
    const { out, err, code } = await finish(...fast, ...more, "--output-dir", target);
    assert.equal(code, 0, err);
    const results = JSON.parse(out);
    ends[name] = results;
    assert.ok(results.best_validation_loss < results.last_validation_loss && results.best_step < results.steps, out);
    const kept = join(target, "checkpoints", `step-${String(results.kept_step).padStart(7, "0")}`);
    assert.ok(weightsOf(target).equals(weightsOf(kept)), `${name}: the weights of step ${results.kept_step}`);
    const card = readFileSync(join(target, "README.md"), "utf8");
    const [last, best] = [results.last_validation_loss.toFixed(4), results.best_validation_loss.toFixed(4)];
    for (const text of [card, err]) {
      assert.ok(text.includes(last) && text.includes(best), text);
      assert.match(text, new RegExp(`weights of step ${results.kept_step}\\b`));
    }
  }
  const { last, best, patience } = ends;
  assert.deepEqual([last?.kept_step, best?.kept_step, patience?.kept_step], [24, best?.best_step, patience?.best_step]);
  const early = patience?.steps ?? 60;
  assert.ok(early < 60, "patience has ended it");
  const more = ["--model", base, "--data", data, "--max-steps", "80", "--output-dir", outOf("kept-patience"), "--json"];
  const again = await finish("train", "--resume", ...more);
  assert.equal(again.code, 0, again.err);
  assert.ok(JSON.parse(again.out).steps >= early + 4, `more steps continue it: ${again.out}`);
  const never = await finish(
    ...fast,
    "--early-stopping-patience",
    "2",
    "--data",
    join(data, "train.jsonl"),
    "--validation-split",
    "0",
    "--output-dir",
    outOf("no"),
  );
  assert.equal(never.code, 2);
  assert.match(never.err, /--early-stopping-patience needs validation rows/);
});

test(
  "a finished run gets more steps, and at a constant learning rate ends with the bytes of one longer run",
  onlyWhenLong,
  async () => {
    const asked = [
      "train",
      ...common,
      "--data",
      rows,
      "--batch-size",
      "4",
      "--gradient-accumulation-steps",
      "1",
      "--lr-scheduler-type",
      "constant",
    ];
    const often = ["--eval-steps", "4", "--lora-r", "2"];
    const whole = outOf("long");
    assert.equal((await finish(...asked, ...often, "--max-steps", "24", "--output-dir", whole)).code, 0);
    const target = outOf("longer");
    const told = ["--report-to", "tensorboard,wandb", "--sample-every", "5"];
    const sampled = await finish(...asked, ...often, ...told, "--max-steps", "12", "--output-dir", target);
    assert.equal(sampled.code, 0, sampled.err);
    const samples = [...sampled.out.matchAll(/^step (\d+) {2}"Say \d+:" -> ".*"$/gm)].map(([, step]) => step);
    assert.deepEqual(samples, ["5", "5", "10", "10"]);
    const short = weightsOf(target);
    const again = (...more: string[]) =>
      finish("train", "--resume", "--output-dir", target, ...common.slice(0, 4), ...more);
    const idle = await again("--data", rows);
    assert.equal(idle.code, 2);
    assert.match(idle.err, /The run has ended after step 12 of 12: --max-steps or --epochs must allow more/);
    const other = await again("--data", pairs, "--max-steps", "24");
    assert.equal(other.code, 4);
    assert.ok(weightsOf(target).equals(short), "a refusal leaves the result");
    assert.match(
      (await again("--data", rows, "--max-steps", "24", "--lora-r", "4")).err,
      /--lora-r was 2 when this run began/,
    );
    const { out, err, code } = await again("--data", rows, "--max-steps", "24", ...told);
    assert.equal(code, 0, err);
    assert.match(out, /resumed +after step 12, at a learning rate of 4\.00e-3 as in any run of 24 steps/);
    assert.ok(weightsOf(target).equals(weightsOf(whole)), "the same bytes");
    const steps = readFileSync(join(target, "training.jsonl"), "utf8").match(/"step":\d+,"loss"/g);
    assert.equal(steps?.length, 24);
    const reports = readdirSync(join(target, "reports")).map((name) => name.split(/[.-]/)[0]);
    assert.deepEqual(reports.sort(), ["events", "events", "offline"], "one wandb run, two event files");
    const record = JSON.parse(readFileSync(join(target, "lorikeet.json"), "utf8"));
    assert.deepEqual([record.settings.maxSteps, record.results.steps, record.results.kept_step], [24, 24, 24]);
  },
);
