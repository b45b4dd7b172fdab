/** `train`, `eval` and `merge` as processes, on the embedded model and on a tiny one: what is trained is served and judged as it was trained. */
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { readCard } from "../../src/adapter/card.js";
import { onlyWhenLong } from "../support/long.js";
import { finish, killAll, type Run, start } from "../support/process.js";
import { writeTinyModel } from "../support/tiny-model.js";

const folder = mkdtempSync(join(tmpdir(), "lorikeet-train-"));
after(() => {
  killAll();
  rmSync(folder, { recursive: true, force: true });
});

async function until(run: Run, text: string): Promise<void> {
  for (let i = 0; !run.out.includes(text); i++) {
    assert.ok(i < 1200 && run.child.exitCode === null, `${text} in ${run.out} ${run.err}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const rows = Array.from({ length: 24 }, (_, i) => ({
  text: `${["a fine", "a poor"][i % 2]} film, the ${i}th`,
  label: ["good", "bad"][i % 2],
}));
const data = join(folder, "rows.jsonl");
writeFileSync(data, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
const model = ["--model", "models/bookworm-7m"];
const tiny = ["--model", join(folder, "tiny"), "--cache-dir", join(folder, "cache")];
before(() => writeTinyModel(join(folder, "tiny"), "F32"));
const recipe = [
  ...model,
  "--data",
  data,
  "--lora-r",
  "4",
  "--lora-alpha",
  "8",
  "--batch-size",
  "4",
  "--gradient-accumulation-steps",
  "1",
];
const short = [...recipe, "--lora-dropout", "0.1", "--max-steps", "12", "--eval-steps", "2"];
const weightsOf = (out: string): Buffer => readFileSync(join(out, "adapter_model.safetensors"));

test("a run is saved, evaluated and merged", async () => {
  const whole = join(folder, "adapters", "whole");
  const { out, err, code } = await finish(
    "train",
    ...short,
    "--output-dir",
    whole,
    "--description",
    "Judges short texts.",
    "--json",
  );
  assert.equal(code, 0, err);
  const { readme, examples } = await readCard(whole);
  assert.match(readme ?? "", /^\s*# whole\n\nJudges short texts\.\n/);
  assert.match(readme ?? "", /serve --model models\/bookworm-7m --adapters path\/to\/adapters\n/);
  assert.ok(examples.length > 0 && readme?.includes(`"prompt":${JSON.stringify(examples[0]?.text)}`), readme ?? "");
  const results = JSON.parse(out);
  assert.deepEqual([results.steps, results.output_dir], [12, whole]);
  assert.ok(results.validation_loss < results.base_validation_loss);
  const { trained, served } = results.served_check;
  assert.ok(Math.abs(trained - served) < 1e-4, `${trained} trained, ${served} served`);
  assert.match(err, /model +bookworm-7m.*\n(.*\n)*.*sample 2/);
  for (const name of ["README.md", "lorikeet.json", "training.jsonl", "training.svg"]) {
    assert.ok(existsSync(join(whole, name)), name);
  }
  const checkpoints = readdirSync(join(whole, "checkpoints"));
  assert.ok(checkpoints.length >= 3 && checkpoints.length <= 4, checkpoints.join(" "));
  assert.deepEqual(readdirSync(join(folder, "adapters")), ["whole"]);

  const details = join(folder, "details.jsonl");
  const judged = await finish("eval", ...model, "--adapter", whole, "--data", data, "--json", "--details", details);
  assert.equal(judged.code, 0, judged.err);
  const figures = JSON.parse(judged.out);
  assert.equal(figures.rows, 24);
  const lines = readFileSync(details, "utf8").trimEnd().split("\n");
  const judgedRows = lines.map((line): Record<string, unknown> => JSON.parse(line));
  const right = judgedRows.filter(({ label, choice }) => label === choice);
  assert.deepEqual([judgedRows.length, right.length], [24, figures.label_accuracy.right]);
  const sum = judgedRows.reduce((all, row) => all + Number(row.loss), 0);
  assert.ok(Math.abs(sum / figures.labels - figures.loss) < 1e-9);
  assert.deepEqual(figures.label_accuracy.names, ["bad", "good"]);
  const merged = join(folder, "merged");
  assert.equal(
    (await finish("merge", ...model, "--adapter", whole, "--output-dir", merged, "--output-dtype", "fp32")).code,
    0,
  );
  const folded = JSON.parse((await finish("eval", "--model", merged, "--data", data, "--json")).out);
  assert.ok(Math.abs(folded.loss - figures.loss) < 1e-4, `${folded.loss} merged, ${figures.loss} beside the base`);
});

test("a run over a quantized base is served and evaluated over the same base", async () => {
  const whole = join(folder, "adapters", "int8");
  const asked = [...recipe, ...tiny, "--dtype", "int8", "--max-steps", "4", "--eval-steps", "2"];
  const { out, err, code } = await finish("train", ...asked, "--output-dir", whole, "--json");
  assert.equal(code, 0, err);
  assert.match(err, /base +int8, .* including copies for gradients/);
  assert.match(err, /as served with int8 weights: loss .* from training/);
  const results = JSON.parse(out);
  assert.ok(results.validation_loss < results.base_validation_loss);
  const { trained, served, difference, dtype: over } = results.served_check;
  assert.ok(over === "int8" && difference === Math.abs(trained - served) && difference < 0.02 * trained, out);
  const record = JSON.parse(readFileSync(join(whole, "lorikeet.json"), "utf8"));
  assert.deepEqual([record.base.dtype, record.results.served_check], ["int8", results.served_check]);
  assert.match(readFileSync(join(whole, "README.md"), "utf8"), /trained over its int8 weights/);
  const few = ["--max-eval-samples", "4", "--no-exact-match"];
  const judged = await finish("eval", ...tiny, "--adapter", whole, "--data", data, "--dtype", "int8", "--json", ...few);
  const { loss, dtype: judgedOver, trained_over: trainedOver } = JSON.parse(judged.out);
  assert.deepEqual([judgedOver, trainedOver, loss > 0], ["int8", "int8", true]);
});

test("preference pairs start at ln 2 and move apart", async () => {
  const pairs = join(folder, "pairs.jsonl");
  const lines = Array.from({ length: 12 }, (_, i) => ({ prompt: `Item ${i} is`, chosen: " good.", rejected: " bad." }));
  writeFileSync(pairs, lines.map((row) => `${JSON.stringify(row)}\n`).join(""));
  const out = join(folder, "adapters", "dpo");
  const args = [
    ...tiny,
    "--data",
    pairs,
    "--method",
    "dpo",
    "--learning-rate",
    "0.002",
    "--max-steps",
    "6",
    "--validation-split",
    "0.25",
  ];
  const run = await finish(
    "train",
    ...args,
    "--batch-size",
    "4",
    "--gradient-accumulation-steps",
    "1",
    "--output-dir",
    out,
    "--save-dtype",
    "bf16",
    "--json",
  );
  assert.equal(run.code, 0, run.err);
  assert.match(weightsOf(out).toString("latin1"), /"dtype":"BF16"/);
  const results = JSON.parse(run.out);
  const { trained, served } = results.served_check;
  assert.ok(Math.abs(trained - served) < 1e-4, `${trained} as written, ${served} served`);
  assert.ok(Math.abs(results.base_validation_loss - Math.LN2) < 1e-5, `${results.base_validation_loss}`);
  assert.ok(results.validation_loss < 0.5, `${results.validation_loss}`);
  const judged = await finish(
    "eval",
    ...tiny,
    "--data",
    pairs,
    "--adapter",
    out,
    "--json",
    "--details",
    `${out}.jsonl`,
  );
  assert.equal(judged.code, 0, judged.err);
  const { pair_accuracy, reward_accuracy } = JSON.parse(judged.out);
  const details = readFileSync(`${out}.jsonl`, "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  const likelier = details.filter(({ chosen_logprob, rejected_logprob }) => chosen_logprob > rejected_logprob);
  assert.deepEqual([pair_accuracy.rows, pair_accuracy.right], [12, likelier.length]);
  assert.equal(reward_accuracy.right, 12, "each chosen answer has gained on its rejected one");
  const base = JSON.parse((await finish("eval", ...tiny, "--data", pairs, "--json")).out);
  assert.deepEqual([base.pair_accuracy.rows, base.reward_accuracy], [12, null]);
  const validations = readFileSync(join(out, "training.jsonl"), "utf8")
    .split("\n")
    .filter((line) => line.includes("validation_margin"))
    .map((line) => JSON.parse(line));
  assert.ok(Math.abs(validations[0].validation_margin) < 1e-5, `${validations[0].validation_margin}`);
  assert.ok(validations.at(-1).validation_margin > 0.1, `${validations.at(-1).validation_margin}`);
  assert.equal(validations.at(-1).validation_accuracy, 1);
});

test(
  "DoRA trains, is evaluated as it is served, and resumes from its checkpoints to the same bytes",
  onlyWhenLong,
  async () => {
    const out = join(folder, "adapters", "dora");
    const dora = [...recipe, "--use-dora", "--lora-dropout", "0.1", "--max-steps", "4", "--eval-steps", "2"];
    const run = start(["train", ...dora, "--output-dir", out]);
    await until(run, "step 2/4");
    run.child.kill("SIGTERM");
    assert.equal(await run.ended, 143);
    const { out: text, err, code } = await finish("train", "--resume", "--output-dir", out, "--json");
    assert.equal(code, 0, err);
    const { served_check: check, validation_loss, base_validation_loss } = JSON.parse(text);
    assert.ok(check.difference < 1e-4 && validation_loss < base_validation_loss, text);
    assert.equal(JSON.parse(readFileSync(join(out, "adapter_config.json"), "utf8")).use_dora, true);
    const { out: judged, err: why } = await finish("eval", ...model, "--adapter", out, "--data", data, "--json");
    assert.ok(JSON.parse(judged).loss < base_validation_loss, why);
    const whole = join(folder, "adapters", "dora-whole");
    const other = await finish("train", ...dora, "--output-dir", whole);
    assert.equal(other.code, 0, other.err);
    assert.ok(weightsOf(whole).equals(weightsOf(out)), "the same bytes");
  },
);

test(
  "DoRA resumes over a quantized base with its magnitudes, and learns preferences from ln 2",
  onlyWhenLong,
  async () => {
    const out = join(folder, "adapters", "dora");
    const more = join(folder, "adapters", "dora-more");
    const longer = [
      "--dtype",
      "int8",
      "--init-from",
      out,
      "--max-steps",
      "2",
      "--learning-rate",
      "1e-4",
      "--output-dir",
      more,
      "--json",
    ];
    const run = await finish(
      "train",
      ...model,
      "--data",
      data,
      "--batch-size",
      "4",
      "--gradient-accumulation-steps",
      "1",
      ...longer,
    );
    assert.equal(run.code, 0, run.err);
    assert.match(run.err, /DoRA rank 4, alpha 8/);
    const { served_check: check, base_validation_loss } = JSON.parse(run.out);
    const before = JSON.parse(readFileSync(join(out, "lorikeet.json"), "utf8")).results;
    assert.ok(Math.abs(base_validation_loss - before.validation_loss) < 0.05 * before.validation_loss, run.out);
    assert.ok(check.difference < 0.02 * check.trained, run.out);
    assert.equal(JSON.parse(readFileSync(join(more, "adapter_config.json"), "utf8")).use_dora, true);

    const pairs = join(folder, "dora-pairs.jsonl");
    const lines = Array.from({ length: 8 }, (_, i) => ({
      prompt: `Item ${i} is`,
      chosen: " good.",
      rejected: " bad.",
    }));
    writeFileSync(pairs, lines.map((row) => `${JSON.stringify(row)}\n`).join(""));
    const dpo = ["--method", "dpo", "--use-dora", "--dtype", "int4", "--learning-rate", "0.002", "--max-steps", "4"];
    const small = ["--validation-split", "0.25", "--batch-size", "4", "--gradient-accumulation-steps", "1"];
    const preferred = join(folder, "adapters", "dora-dpo");
    const learned = await finish(
      "train",
      ...model,
      "--data",
      pairs,
      ...dpo,
      ...small,
      "--output-dir",
      preferred,
      "--json",
    );
    assert.equal(learned.code, 0, learned.err);
    const results = JSON.parse(learned.out);
    assert.ok(Math.abs(results.base_validation_loss - Math.LN2) < 1e-5, `${results.base_validation_loss}`);
    assert.ok(results.validation_loss < 0.6, `${results.validation_loss}`);
  },
);

test("a dry run shows rows, lengths and costs, and writes nothing; faults of the data come before anything else", async () => {
  const before = readdirSync(folder);
  const mixed = join(folder, "mixed.jsonl");
  writeFileSync(mixed, `${readFileSync(data, "utf8")}\n{"prompt":"one","completion":" two"}\n`);
  before.push("mixed.jsonl");
  const config = join(folder, "recipe.yaml");
  writeFileSync(config, `data: ${mixed}\npacking: true\nmax-length: 64\ntarget-modules: [q_proj, v_proj]\n`);
  before.push("recipe.yaml");
  const dry = await finish("train", ...recipe, "--data", mixed, "--dry-run", "--config", config);
  assert.equal(dry.code, 0, dry.err);
  assert.match(dry.out, /‹ (good|bad)<\|endoftext\|>›/);
  assert.match(dry.out, /on 16 layers/, "the targets of the file");
  assert.match(dry.out, /forms +mixed: label from mixed\.jsonl:1, completion from mixed\.jsonl:26/);
  assert.match(dry.out, /memory +about .* of .*\ntime +about/);
  assert.match(dry.out, /tokens of a row\n +\d+(-\d+)? +█/);
  const other = await finish("train", ...recipe, "--dry-run", "--data-digest", `sha256:${"0".repeat(64)}`);
  assert.equal(other.code, 4);
  assert.match(other.err, /The data is sha256:[0-9a-f]{64}, not the sha256:0{64} of --data-digest/);
  const bad = join(folder, "bad.jsonl");
  writeFileSync(bad, '{"text":1}\n');
  const out = join(folder, "adapters", "never");
  const faulty = await finish("train", ...model, "--data", bad, "--output-dir", out);
  assert.equal(faulty.code, 4);
  assert.match(faulty.err, /bad\.jsonl:1: must have a text/);
  assert.ok(!existsSync(join(folder, "adapters", ".training")));
  assert.deepEqual(readdirSync(folder).sort(), [...before, "bad.jsonl"].sort());
});
