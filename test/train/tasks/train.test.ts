/** `train` over task models as a user runs it: what it trains is served by upload and answers as it was trained. */

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { post } from "../../support/client.js";
import { pngOf } from "../../support/png-file.js";
import { runHere } from "../../support/program.js";
import { adaptersFolder, openService } from "../../support/service.js";
import { taskRoot } from "../../support/task-models.js";

const folder = mkdtempSync(join(tmpdir(), "lorikeet-train-task-"));
after(() => rmSync(folder, { recursive: true }));

function rowsFile(name: string, rows: readonly object[]): string {
  const path = join(folder, `${name}.jsonl`);
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  return path;
}

const words = { up: ["fine", "warm", "honest"], down: ["dull", "weak", "badly"] } as const;
const reviews = rowsFile(
  "reviews",
  Array.from({ length: 48 }, (_, i) => {
    const label = i % 2 === 0 ? "up" : "down";
    return { text: `the film is ${words[label][i % 3]} and ${words[label][(i >> 1) % 3]} .`, label };
  }),
);
const bert = join(taskRoot, "bert-sequence-classification");
const short = [
  ...["--lora-r", "4", "--gradient-accumulation-steps", "1", "--max-steps", "8", "--eval-steps", "4"],
  ...["--warmup-steps", "0", "--validation-split", "0.25"],
];

async function train(model: string, data: string, name: string, ...more: string[]) {
  const out = join(folder, "out", name);
  const args = ["train", "--model", model, "--data", data, "--output-dir", out, "--threads", "1", "--json"];
  const given = short.filter((_, i) => !more.includes(short[i - (i % 2)] ?? ""));
  const { code, out: text, err } = await runHere([...args, ...given, ...more]);
  return { code, err, folder: out, results: code === 0 ? JSON.parse(text) : null };
}

test("a classifier with a fresh head is trained, uploaded and answers with its labels", async () => {
  await using store = await adaptersFolder({});
  await using service = await openService({ model: bert, adapters: store.path });
  const options = ["--labels", "down,up", "--max-steps", "16", "--publish", service.url];
  const trained = await train(bert, reviews, "mood", ...options);
  assert.equal(trained.code, 0, trained.err);
  const { base_validation_metrics: before, validation_metrics: now, served_check: check } = trained.results;
  assert.ok(now.accuracy >= 0.9 && now.accuracy > before.accuracy, JSON.stringify([before, now]));
  assert.ok(check.difference < 1e-5, `${check.trained} trained, ${check.served} served`);
  assert.match(
    readFileSync(join(trained.folder, "README.md"), "utf8"),
    /saved whole: `classifier`[\s\S]*labels are down, up/,
  );
  const input = ["the film is warm and fine .", "the film is weak and dull ."];
  const answer = await (await post(service.url, "/classify", { model: "mood", input })).json();
  const { data } = answer as { data: { label: string; num_classes: number }[] };
  assert.deepEqual(
    data.map(({ label, num_classes: count }) => [label, count]),
    [
      ["up", 2],
      ["down", 2],
    ],
  );
});

test("a run over a task model that is extended ends with the bytes of one that had all its steps", async () => {
  const options = ["--labels", "down,up", "--lora-dropout", "0.1", "--use-dora", "--lr-scheduler-type", "constant"];
  const whole = await train(bert, reviews, "whole", ...options);
  assert.equal(whole.code, 0, whole.err);
  const part = await train(bert, reviews, "part", ...options, "--max-steps", "4");
  assert.equal(part.code, 0, part.err);
  const resume = ["train", "--resume", "--output-dir", part.folder, "--model", bert, "--data", reviews];
  const resumed = await runHere([...resume, "--max-steps", "8", "--threads", "1", "--json"]);
  assert.equal(resumed.code, 0, resumed.err);
  assert.equal(JSON.parse(resumed.out).steps, 8);
  const weights = (run: string): Buffer => readFileSync(join(run, "adapter_model.safetensors"));
  assert.deepEqual(weights(part.folder), weights(whole.folder));
});

test("pictures in folders by class train a classifier with convolutions", async () => {
  for (const [split, count] of [
    ["train", 8],
    ["valid", 4],
  ] as const) {
    for (const label of ["light", "dark"]) {
      const path = join(folder, "pictures", split, label);
      mkdirSync(path, { recursive: true });
      for (let i = 0; i < count; i++) {
        const shade = (label === "light" ? 180 : 10) + 7 * i;
        writeFileSync(join(path, `${i}.png`), pngOf(34, 30, new Uint8Array(34 * 30 * 3).fill(shade)));
      }
    }
  }
  const { code, err, results } = await train(
    join(taskRoot, "resnet"),
    join(folder, "pictures"),
    "shades",
    ...["--labels", "light,dark", "--learning-rate", "0.02"],
  );
  assert.equal(code, 0, err);
  assert.equal(results.validation_metrics.accuracy, 1);
  assert.ok(results.served_check.difference < 1e-5);
  assert.match(err, /norms +batch normalizations keep their statistics/);
});

test("a policy is cloned from recorded transitions", async () => {
  const transitions = Array.from({ length: 40 }, (_, i) => {
    const observation = [0, 1, 2, 3].map((k) => Math.sin(7 * i + 3 * k));
    return { observation, action: (observation[0] ?? 0) > 0 ? 1 : 0 };
  });
  const data = rowsFile("transitions", transitions);
  const model = join(taskRoot, "policy-mlp");
  const open = await train(model, data, "clone");
  assert.match(open.err, /does not say what it is made for: --task names one of .*reinforcement-learning/);
  const { code, err, results } = await train(model, data, "clone", "--task", "reinforcement-learning");
  assert.equal(code, 0, err);
  assert.ok(results.validation_loss < results.base_validation_loss);
  assert.ok(results.served_check.difference < 1e-5);
});

test("data and options that do not fit a task model are refused before anything is written", async () => {
  const wrong = rowsFile("wrong", [{ text: "no label" }, { text: "fine", label: "up" }]);
  for (const [data, more, message] of [
    [reviews, [], /labels down, up; the model has negative, neutral, positive\. --labels down,up makes a head/],
    [reviews, ["--labels", "up"], /the label down; --labels names up\./],
    [wrong, ["--labels", "up,down"], /wrong\.jsonl:1: has `text` but no `label`; expected/],
    [reviews, ["--labels", "up,up"], /--labels up,up must be names that differ/],
    [
      reviews,
      ["--task", "image-classification"],
      /--task is image-classification, but the model is made for text-classification/,
    ],
    [
      reviews,
      ["--labels", "up,down", "--target-modules", "nothing"],
      /--target-modules nothing matches no module of the model; it has .*query/,
    ],
    [reviews, ["--packing"], /--packing is for decoders; the model is a task model\./],
    [reviews, ["--method", "dpo"], /--method dpo does not train task models/],
    [join(folder, "none.jsonl"), [], /none\.jsonl does not exist/],
  ] as const) {
    const { code, err } = await train(bert, data, "refused", ...more);
    assert.notEqual(code, 0);
    assert.match(err, message);
  }
});
