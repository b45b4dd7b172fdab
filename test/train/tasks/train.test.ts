/** `train` over task models as a user runs it: what it trains is served by upload and answers as it was trained. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { openTaskBase } from "../../../src/cli/train/task-base.js";
import { GraphBuilder } from "../../../src/graph/builder.js";
import { openOnnx } from "../../../src/graph/open.js";
import { pruneGraph } from "../../../src/graph/prune.js";
import { serializeGraph } from "../../../src/graph/serialize.js";
import { encoderDecoderOf } from "../../../src/model/task/encoder-decoder.js";
import { joinGraphs } from "../../../src/model/task/joined-graph.js";
import { openTaskModel } from "../../../src/model/task/open.js";
import type { TranslationSource } from "../../../src/train/tasks/inputs/translation-inputs.js";
import { trainedGraphs, writeTaskModel } from "../../../src/train/tasks/model-files.js";
import { spansOf } from "../../../src/train/tasks/objectives/tagging.js";
import { trainedWeights } from "../../../src/train/tasks/trained-weights.js";
import { post } from "../../support/client.js";
import { onlyWhenLong } from "../../support/long.js";
import { pngOf } from "../../support/png-file.js";
import { runHere } from "../../support/program.js";
import { adaptersFolder, openService } from "../../support/service.js";
import { taskRoot } from "../../support/task-models.js";
import { writeByteTokenizer, writeTinyModel } from "../../support/tiny-model.js";

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
  const left = more.includes("full") ? ["--lora-r", ...more] : more;
  const given = short.filter((_, i) => !left.includes(short[i - (i % 2)] ?? ""));
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
  const { samples } = trained.results;
  assert.ok(samples.length === 2 && samples.every(({ prompt }: { prompt: string }) => /^the film is/.test(prompt)));
  assert.ok(
    samples.every(({ expected, after }: Record<string, string>) => expected === after),
    JSON.stringify(samples),
  );
  const card = readFileSync(join(trained.folder, "README.md"), "utf8");
  assert.match(card, /saved whole: `classifier`[\s\S]*labels are down, up/);
  assert.ok(card.includes(createHash("sha256").update(readFileSync(reviews)).digest("hex")));
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

test("a decoder with a classification head is trained, uploaded, answers with them, is evaluated and continued", async () => {
  const decoder = join(folder, "decoder");
  await writeTinyModel(decoder, "F32");
  await using store = await adaptersFolder({});
  await using service = await openService({ model: decoder, adapters: store.path });
  const task = ["--task", "text-classification"];
  const options = [...task, "--labels", "down,up", "--learning-rate", "0.01", "--max-steps", "12"];
  const trained = await train(decoder, reviews, "tone", ...options, "--publish", service.url);
  assert.equal(trained.code, 0, trained.err);
  const { validation_metrics: now, served_check: check, validation_loss: loss } = trained.results;
  assert.ok(now.accuracy >= 0.9 && now.macro_f1 >= 0.9, JSON.stringify(now));
  assert.ok(check.difference < 1e-5, `${check.trained} trained, ${check.served} served`);
  const { task_type: type, modules_to_save: saved } = JSON.parse(
    readFileSync(join(trained.folder, "adapter_config.json"), "utf8"),
  );
  assert.deepEqual([type, saved], ["SEQ_CLS", ["score"]]);
  const input = ["the film is warm and fine .", "the film is weak and dull ."];
  const answer = await (await post(service.url, "/classify", { model: "tone", input })).json();
  const { data } = answer as { data: { label: string }[] };
  assert.deepEqual(
    data.map(({ label }) => label),
    ["up", "down"],
  );

  const evaluate = ["eval", "--model", decoder, "--data", reviews, "--threads", "1", "--json"];
  const judged = await runHere([...evaluate, "--adapter", trained.folder]);
  assert.equal(judged.code, 0, judged.err);
  const figures = JSON.parse(judged.out);
  assert.deepEqual([figures.task, figures.rows, figures.accuracy === undefined], ["text-classification", 48, true]);
  assert.ok(figures.metrics.accuracy >= 0.9);
  assert.match((await runHere([...evaluate, ...task])).err, /has no classification head/);

  const merged = join(folder, "merged-tone");
  const folded = await runHere(["merge", "--model", decoder, "--adapter", trained.folder, "--output-dir", merged]);
  assert.equal(folded.code, 0, folded.err);
  const whole = await runHere(["eval", "--model", merged, "--data", reviews, "--threads", "1", "--json"]);
  assert.ok(Math.abs(JSON.parse(whole.out).loss - figures.loss) < 1e-5, whole.out + whole.err);

  const config = readJson(join(merged, "config.json"));
  writeFileSync(join(merged, "config.json"), JSON.stringify({ ...config, problem_type: "multi_label_classification" }));
  const many = await runHere(["eval", "--model", merged, "--data", reviews, "--threads", "1", "--json"]);
  assert.match(many.err, /decoders are trained and evaluated only with labels that exclude one another/);

  const more = await train(
    decoder,
    reviews,
    "tone-further",
    ...task,
    "--init-from",
    trained.folder,
    "--max-steps",
    "1",
  );
  assert.equal(more.code, 0, more.err);
  assert.equal(more.results.base_validation_loss, loss);
  const text = await train(decoder, reviews, "text", "--init-from", trained.folder, "--max-steps", "1");
  assert.match(text.err, /has a classification head \(score\).*--task text-classification does/);
  assert.match((await train(decoder, reviews, "none", ...task)).err, /for example --labels down,up/);
  assert.match((await train(decoder, reviews, "none", ...options, "--packing")).err, /--packing does not apply/);
});

test("a decoder that is a classifier is trained further, or with a fresh layer", onlyWhenLong, async () => {
  const base = join(folder, "classifier");
  cpSync("test/fixtures/decoder-heads/classifier", base, { recursive: true });
  writeByteTokenizer(base);
  const rows = rowsFile(
    "answers",
    Array.from({ length: 16 }, (_, i) => ({ text: `is it ${i}?`, label: ["no", "yes"][i % 2] })),
  );
  const kept = await train(base, rows, "kept", "--max-steps", "1");
  assert.equal(kept.code, 0, kept.err);
  assert.deepEqual(readJson(join(kept.folder, "labels.json")), ["no", "maybe", "yes", "always"]);
  const judged = await runHere(["eval", "--model", base, "--data", rows, "--threads", "1", "--json"]);
  assert.equal(judged.code, 0, judged.err);
  assert.equal(JSON.parse(judged.out).rows, 16);
  const fresh = await train(base, rows, "fresh", "--labels", "yes,no", "--max-steps", "1");
  assert.equal(fresh.code, 0, fresh.err);
  assert.deepEqual(readJson(join(fresh.folder, "labels.json")), ["yes", "no"]);
  assert.ok(fresh.results.served_check.difference < 1e-5);
  const config = readJson(join(base, "config.json"));
  writeFileSync(join(base, "config.json"), JSON.stringify({ ...config, problem_type: "multi_label_classification" }));
  assert.match((await train(base, rows, "many")).err, /scores each label by itself/);
});

const readJson = (path: string) => JSON.parse(readFileSync(path, "utf8"));

test("a run over a task model that is extended ends with the bytes of a whole one", onlyWhenLong, async () => {
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

const transitions = rowsFile(
  "transitions",
  Array.from({ length: 40 }, (_, i) => {
    const observation = [0, 1, 2, 3].map((k) => Math.sin(7 * i + 3 * k));
    return { observation, action: (observation[0] ?? 0) > 0 ? 1 : 0 };
  }),
);

test("a policy is cloned from recorded transitions", async () => {
  const data = transitions;
  const model = join(taskRoot, "policy-mlp");
  const open = await train(model, data, "clone");
  assert.match(open.err, /does not say what it is made for: --task names one of .*reinforcement-learning/);
  const { code, err, results } = await train(model, data, "clone", "--task", "reinforcement-learning");
  assert.equal(code, 0, err);
  assert.ok(results.validation_loss < results.base_validation_loss);
  assert.ok(results.served_check.difference < 1e-5);
});

test("a model that --method full trained is served, and trained further from its checkpoints", async () => {
  const shades = join(folder, "pictures");
  const options = ["--method", "full", "--learning-rate", "0.01", "--lr-scheduler-type", "constant"];
  const whole = await train(
    join(taskRoot, "policy-mlp"),
    transitions,
    "full",
    "--task",
    "reinforcement-learning",
    ...options,
  );
  assert.equal(whole.code, 0, whole.err);
  const { base_validation_loss: before, validation_loss: now, served_check: check } = whole.results;
  assert.ok(now < before && check.difference < 1e-5, JSON.stringify(whole.results));
  const part = await train(
    join(taskRoot, "policy-mlp"),
    transitions,
    "full-part",
    ...["--task", "reinforcement-learning", ...options, "--max-steps", "4"],
  );
  const resume = ["train", "--resume", "--output-dir", part.folder, "--max-steps", "8", "--threads", "1", "--json"];
  const resumed = await runHere([...resume, "--model", join(taskRoot, "policy-mlp"), "--data", transitions]);
  assert.equal(resumed.code, 0, resumed.err);
  const bytesOf = (run: string): Buffer => readFileSync(join(run, "onnx", "model.onnx"));
  assert.deepEqual(bytesOf(part.folder), bytesOf(whole.folder));
  assert.match(readFileSync(join(whole.folder, "README.md"), "utf8"), /library_name: onnx\n/);
  await using service = await openService({ model: whole.folder });
  const observation = [1, 0.5, -0.5, 0];
  const inputs = [{ name: "observation", shape: [1, 4], datatype: "FP32", data: observation }];
  const answer = await (await post(service.url, "/v2/models/full/infer", { inputs })).json();
  const [{ data = [] } = {}] = (answer as { outputs: { data?: number[] }[] }).outputs;
  assert.ok((data[1] ?? 0) > (data[0] ?? 0), JSON.stringify(data));
  for (const [more, message] of [
    [["--lora-r", "8"], /--lora-r is for adapters; --method full does not train one\./],
    [["--modules-to-save", "net.4"], /--modules-to-save is for adapters/],
  ] as const) {
    const { code, err } = await train(join(taskRoot, "policy-mlp"), transitions, "refused", ...options, ...more);
    assert.notEqual(code, 0);
    assert.match(err, message);
  }
  const labels = await train(join(taskRoot, "resnet"), shades, "refused", ...options, "--labels", "light,dark");
  assert.match(labels.err, /--labels names 2 labels, for which an adapter gets a fresh head/);
});

test("a policy learns how well actions went", async () => {
  const observation = [0.1, 0.2, 0.3, 0.4];
  const model = join(taskRoot, "policy-mlp");
  const learn = (name: string, ...rows: object[]) =>
    train(model, rowsFile(name, rows), name, "--task", "reinforcement-learning");
  const rows = Array.from({ length: 16 }, (_, i) => ({ observation, action: i % 2, target: i % 2 }));
  const valued = await learn("valued", ...rows);
  assert.equal(valued.code, 0, valued.err);
  const { base_validation_metrics: before, validation_metrics: now } = valued.results;
  assert.ok(now.mean_absolute_error < before.mean_absolute_error, JSON.stringify([before, now]));
  for (const [wrong, message] of [
    [{ observation, action: 1 }, /has a number as `action` alone, where rows before it have `target`/],
    [{ observation, action: 0, target: 1, advantage: 1 }, /has `target` and also `advantage` or `return`/],
    [{ observation, action: 0, target: "much" }, /must have a number as `target`/],
    [{ observation, action: [0.5, 1], target: 1 }, /has a list as `action`, which can only be imitated/],
    [{ observation, action: 2, target: 1 }, /must have a whole number from 0 to 1 or a list of 2 numbers as `action`/],
  ] as const) {
    assert.match((await learn("wrong", ...rows, wrong)).err, message);
  }
  for (const [wrong, message] of [
    [{ return: 3 }, /`return` without `advantage`, which trains an output `value`/],
    [{ advantage: 1, return: 3, probability: 0 }, /must have a number from 0.000001 to 1 as `probability`/],
  ] as const) {
    assert.match((await learn("wrong", { observation, action: 1, ...wrong })).err, message);
  }
  const judged = { observation, action: 1, advantage: 1, return: 3 };
  const mixed = await learn("wrong", { ...judged, probability: 0.5 }, judged);
  assert.match(mixed.err, /:2: lacks `probability`, which rows before it have/);
});

test("a detector learns boxes and labels of pictures", async () => {
  const path = join(folder, "scenes");
  mkdirSync(path, { recursive: true });
  writeFileSync(join(path, "a.png"), pngOf(48, 32, new Uint8Array(48 * 32 * 3).fill(90)));
  const objects = [{ box: [4, 3, 24, 27], label: "box" }];
  const model = join(taskRoot, "yolos");
  const learn = async (row: object, rows: number, ...more: string[]) => {
    writeFileSync(join(path, "train.jsonl"), `${JSON.stringify(row)}\n`.repeat(rows));
    return await train(model, path, "scenes", "--overwrite", "--batch-size", "2", ...more);
  };
  const { code, err, results, folder: out } = await learn({ image: "a.png", objects }, 8, "--learning-rate", "0.02");
  assert.equal(code, 0, err);
  assert.match(readFileSync(join(out, "README.md"), "utf8"), /scenes\/pipeline\/object-detection \\\n.*@picture\.png/);
  assert.ok(results.validation_loss < results.base_validation_loss - 0.1, JSON.stringify(results));
  assert.ok(results.served_check.difference < 1e-4 && results.validation_metrics.ap50 >= 0);
  const cow = { image: "a.png", objects: [{ box: [4, 3, 24, 27], label: "cow" }] };
  const fresh = await learn(cow, 8, "--labels", "cow,dog", "--max-steps", "1", "--eval-steps", "1");
  assert.equal(fresh.code, 0, fresh.err);
  assert.ok(fresh.results.served_check.difference < 1e-4);
  for (const [row, message] of [
    [{ image: "a.png", objects: [{ box: [4, 3, 50, 27], label: "box" }] }, /object 1 .*which has 48 x 32/],
    [{ image: "a.png", objects: [{ box: [9, 3, 9, 27], label: "box" }] }, /xmin, ymin, xmax and ymax/],
    [{ image: "a.png", objects: { box: [1, 1, 2, 2] } }, /must have a list as `objects`/],
    [{ image: "a.png", objects: [{ box: [1, 1, 2, 2], label: "cow" }] }, /has the label cow; the model has/],
  ] as const) {
    assert.match((await learn(row, 2)).err, message);
  }
});

/** A copy of a model with other small files. */
function variant(name: string, from: string, files: Readonly<Record<string, object>>): string {
  const path = join(folder, "variants", name);
  cpSync(from, path, {
    recursive: true,
    filter: (source) => !/(adapters|train|train-dora|expected\.safetensors)$/.test(source),
  });
  for (const [file, more] of Object.entries(files)) {
    const known = existsSync(join(path, file)) ? JSON.parse(readFileSync(join(path, file), "utf8")) : {};
    writeFileSync(join(path, file), JSON.stringify({ ...known, ...more }));
  }
  return path;
}

const multiLabel = variant("multi-label", bert, { "config.json": { problem_type: "multi_label_classification" } });
const reranker = variant("reranker", bert, { "config.json": { id2label: { 0: "relevance" } } });

test("labels that do not exclude one another and scores of pairs are trained as they are served, by sigmoids", async () => {
  const tagged = Array.from({ length: 48 }, (_, i) => {
    const labels = ["fine", "dull"].filter((_, bit) => (i >> bit) & 1);
    return { text: `the film is ${labels.join(" and ")} .`, labels };
  });
  const options = ["--learning-rate", "0.002", "--max-steps", "24"];
  const many = await train(multiLabel, rowsFile("tagged", tagged), "many", "--labels", "fine,dull", ...options);
  assert.equal(many.code, 0, many.err);
  assert.ok(many.results.validation_metrics.micro_f1 > 0.9, JSON.stringify(many.results.validation_metrics));
  assert.ok(many.results.served_check.difference < 1e-5);
  const pairs = Array.from({ length: 48 }, (_, i) => {
    const score = i % 2;
    return { text: "the film is fine .", text_pair: `it is ${score === 1 ? "warm" : "dull"} .`, score };
  });
  const one = await train(reranker, rowsFile("pairs", pairs), "one", "--labels", "fit", ...options);
  assert.equal(one.code, 0, one.err);
  assert.ok(one.results.validation_metrics.mean_absolute_error < 0.3, JSON.stringify(one.results.validation_metrics));
  assert.ok(one.results.served_check.difference < 1e-5);
});

test("models whose scores or sizes are not those that are trained are refused by name", async () => {
  const picture = `data:image/png;base64,${Buffer.from(pngOf(48, 32, new Uint8Array(48 * 32 * 3))).toString("base64")}`;
  const scenes = rowsFile("sigmoid-scenes", [{ image: picture, objects: [{ box: [4, 3, 24, 27], label: "box" }] }]);
  const resnet = join(taskRoot, "resnet");
  for (const [model, data, more, message] of [
    [
      variant("sigmoid", join(taskRoot, "yolos"), { "lorikeet.json": { scores: "sigmoid" } }),
      ...([scenes, [], /The detector scores each label by itself; only detectors with a class for no object/] as const),
    ],
    [multiLabel, reviews, ["--labels", "up,down"], /has `label` for `labels`; expected/],
    [
      multiLabel,
      rowsFile("one", [{ text: "a", labels: "up" }]),
      [],
      /must have a list of labels as `labels`, not "up"/,
    ],
    [reranker, rowsFile("high", [{ text: "a", score: 7 }]), [], /must have a number from 0 to 1 as `score`, not 7/],
    [
      reranker,
      rowsFile("half", [{ text: "a", score: 0.5 }]),
      ["--labels", "a,b"],
      /scores by a single label; --labels names 2/,
    ],
    [
      variant("large-pictures", resnet, { "preprocessor_config.json": { size: { shortest_edge: 48 } } }),
      ...([
        rowsFile("large", [{ image: picture, label: "a" }]),
        ["--labels", "a,b"],
        /the model's preprocessor makes \[3, 48, 48\]; the model takes \[3, 32, 32\]/,
      ] as const),
    ],
  ] as const) {
    const { code, err } = await train(model, data, "refused", ...more);
    assert.notEqual(code, 0);
    assert.match(err, message);
  }
});

test("labels of a model's lorikeet.json count in training", async () => {
  const model = variant("named", bert, { "lorikeet.json": { labels: ["up", "down", "odd"] } });
  const { code, out, err } = await runHere(["train", "--model", model, "--data", reviews, ...short, "--dry-run"]);
  assert.equal(code, 0, `${out}${err}`);
});

test("an adapter that is trained further keeps its modules and labels", async () => {
  const from = ["--init-from", join(folder, "out", "mood")];
  for (const [more, message] of [
    [["--target-modules", "query"], /--target-modules does not apply: the adapter of --init-from keeps its modules/],
    [["--modules-to-save", "classifier"], /--modules-to-save does not apply/],
    [["--labels", "up,down"], /--labels is up,down, but the adapter of --init-from keeps its own: down,up\./],
  ] as const) {
    const { code, err } = await train(bert, reviews, "refused", ...from, ...more);
    assert.equal(code, 2);
    assert.match(err, message);
  }
  const { code, err } = await train(bert, reviews, "further", ...from, "--labels", "down,up", "--max-steps", "1");
  assert.equal(code, 0, err);
});

test("data and options that do not fit a task model are refused before anything is written", async () => {
  const wrong = rowsFile("wrong", [{ text: "no label" }, { text: "fine", label: "up" }]);
  for (const [data, more, message] of [
    [reviews, [], /labels down, up; the model has negative, neutral, positive\. --labels down,up makes a head/],
    [reviews, ["--labels", "up"], /the label down; --labels names up\./],
    [
      rowsFile("ups", [{ text: "fine", label: "up" }]),
      ...([["--labels", "up"], /The head would have the single label up; a classifier is trained for two/] as const),
    ],
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

const film = ["the", "film", "is", "a", "quiet", "little", "wonder"];

test("pairs and triples train embeddings against the other rows of a batch", async () => {
  const rows = film.flatMap((word, i) => {
    const other = film[(i + 3) % film.length];
    return Array.from({ length: 4 }, () => ({
      anchor: `${word} .`,
      positive: `${word} ${word}`,
      negative: `${other} ,`,
    }));
  });
  const embedder = join(taskRoot, "bert-embeddings");
  for (const [name, data] of [
    ["triples", rows],
    ["pairs", rows.map(({ negative: _, ...pair }) => pair)],
    [
      "scored",
      rows.flatMap(({ anchor: text, positive, negative }) => [
        { text, text_pair: positive, score: 1 },
        { text, text_pair: negative, score: 0 },
      ]),
    ],
  ] as const) {
    const { code, err, results } = await train(embedder, rowsFile(name, data), name);
    assert.equal(code, 0, err);
    assert.ok(results.validation_loss < results.base_validation_loss, name);
    assert.ok(results.served_check.difference < 1e-5);
    if (name === "scored")
      assert.ok(results.validation_metrics.spearman > 0.5, JSON.stringify(results.validation_metrics));
  }
  const mixed = rowsFile("mixed", [...rows, { text: "a", text_pair: "b", score: 0.5 }]);
  assert.match((await train(embedder, mixed, "refused")).err, /mixes rows with a `negative` and rows with a `score`/);
});

/** An encoder with a layer that gives each token the scores of three tags. */
async function taggerFolder(): Promise<string> {
  const from = join(taskRoot, "bert-embeddings");
  const to = join(folder, "tagger");
  mkdirSync(to);
  for (const name of ["tokenizer.json", "tokenizer_config.json"]) cpSync(join(from, name), join(to, name));
  const { graph } = await openOnnx(join(from, "onnx", "model.onnx"), "model.onnx");
  const builder = GraphBuilder.from(graph);
  const hidden = graph.outputs.find(({ name }) => name === "last_hidden_state") ?? assert.fail("no hidden state");
  const weight = Float32Array.from({ length: 32 * 3 }, (_, i) => Math.sin(i) / 4);
  const bytes = (values: Float32Array) => ({ kind: "inline" as const, bytes: new Uint8Array(values.buffer) });
  const w = builder.initializer("classifier.weight", "float32", [32, 3], bytes(weight));
  const b = builder.initializer("classifier.bias", "float32", [3], bytes(new Float32Array(3)));
  const shape = ["batch_size", "sequence_length", 3];
  const [scores] = builder.node("MatMul", [hidden, w], [{ type: "float32", shape }]);
  const named = [{ type: "float32" as const, shape, name: "logits" }];
  for (const value of builder.node("Add", [scores ?? null, b], named)) builder.output(value);
  writeFileSync(join(to, "model.onnx"), serializeGraph(pruneGraph(builder.build())));
  const config = { architectures: ["BertForTokenClassification"], id2label: { 0: "O", 1: "B-X", 2: "I-X" } };
  writeFileSync(join(to, "config.json"), JSON.stringify(config));
  return to;
}

test("tags of words are trained on each word's first token", async () => {
  const rows = Array.from({ length: 24 }, (_, i) => {
    const tokens = film.map((_, k) => film[(i + k) % film.length] ?? "");
    const tagOf: Record<string, string> = { quiet: "B-X", little: "I-X", wonder: "B-X" };
    return { tokens, tags: tokens.map((token) => tagOf[token] ?? "O") };
  });
  const tagger = await taggerFolder();
  const options = ["--max-steps", "24", "--learning-rate", "0.01"];
  const { code, err, results } = await train(tagger, rowsFile("tagged", rows), "tags", ...options);
  assert.equal(code, 0, err);
  const { base_validation_metrics: before, validation_metrics: now } = results;
  assert.ok(now.span_f1 > 0.9 && now.span_f1 > before.span_f1, JSON.stringify([before, now]));
  assert.ok(results.served_check.difference < 1e-5);
  const uneven = rowsFile("uneven", [{ tokens: ["a", "b"], tags: ["O"] }]);
  assert.match((await train(tagger, uneven, "uneven")).err, /uneven\.jsonl:1: has 2 `tokens` and 1 `tags`/);
});

test("spans are counted as seqeval counts them", () => {
  assert.deepEqual([...spansOf(["B-A", "I-A", "O", "I-A", "B-A", "I-B"])], ["0-2 A", "3-4 A", "4-5 A", "5-6 B"]);
  assert.deepEqual([...spansOf(["O", "X", "X"])], ["1-3 X"]);
});

const marian = join(taskRoot, "marian");
const texts: { text: string }[] = JSON.parse(readFileSync(join(marian, "texts.json"), "utf8"));
const [target = "", ...sources] = texts.map(({ text }) => text);
const phrases = rowsFile(
  "phrases",
  sources.slice(0, 4).flatMap((source) => [0, 1, 2].map(() => ({ source, target }))),
);

test("a translator learns a phrase with an adapter, and eval compares its answers with the base's", async () => {
  const options = ["--learning-rate", "0.02", "--max-steps", "16", "--min-lr-rate", "0.5"];
  const { code, err, results, folder: adapter } = await train(marian, phrases, "phrase", ...options);
  assert.equal(code, 0, err);
  assert.ok(results.validation_loss < 0.9 * results.base_validation_loss, err);
  const { base_validation_metrics: before, validation_metrics: now, samples } = results;
  assert.deepEqual(Object.keys(now), ["accuracy", "exact", "chrf"]);
  assert.ok(now.chrf > before.chrf, JSON.stringify([before, now]));
  assert.deepEqual([samples.length, samples[0].expected], [2, target]);
  const card = readFileSync(join(adapter, "README.md"), "utf8");
  assert.ok(card.includes(`| ${samples[0].prompt} | ${target} | `), card);
  const judged = await runHere(["eval", "--model", marian, "--adapter", adapter, "--data", phrases, "--json"]);
  assert.equal(judged.code, 0, judged.err);
  const { metrics, base } = JSON.parse(judged.out);
  assert.ok(metrics.chrf > base.metrics.chrf && metrics.exact >= base.metrics.exact, judged.out);
});

test("sources and targets of training begin as those of the server: by prefix, and by language", async (t) => {
  const open = async (model: string) => {
    const options = { task: null, maxLength: null, threads: 1, signal: AbortSignal.timeout(60_000) };
    const base = await openTaskBase(model, options);
    t.after(() => base[Symbol.asyncDispose]());
    return async (fields: object) => {
      const row = { source: sources[0], target, ...fields };
      const { source, target: ids } = await base.setup.reader.read(row, { file: "a", line: 1 });
      const { source: encoded, decoderIds } = source as TranslationSource;
      return { encoded: encoded.ids, decoderIds, target: ids as readonly number[] };
    };
  };
  const pair = { src_lang: "en", tgt_lang: "de" };
  const read = await open(marian);
  const plain = await read({});
  await assert.rejects(read(pair), /`src_lang` and `tgt_lang` are not supported/);
  const tasks = { translation_en_to_de: { prefix: "the film " } };
  const t5 = await open(
    variant("prefixes", marian, { "config.json": { prefix: "the ", task_specific_params: tasks } }),
  );
  for (const [prefix, fields] of [
    ["the ", {}],
    ["the film ", pair],
  ] as const) {
    const { encoded } = await t5(fields);
    assert.deepEqual(encoded, (await read({ source: prefix + sources[0] })).encoded);
    assert.notDeepEqual(encoded, plain.encoded);
  }
  await assert.rejects(t5({ ...pair, tgt_lang: "it" }), /the model translates en to de/);

  const tokenizer = readJson(join(marian, "tokenizer.json"));
  const { added_tokens: added, post_processor: template } = tokenizer;
  const names = ["eng_Latn", "deu_Latn", "fra_Latn"];
  template.special_tokens.eng_Latn = { id: "eng_Latn", ids: [150], tokens: ["eng_Latn"] };
  template.single.unshift({ SpecialToken: { id: "eng_Latn", type_id: 0 } });
  const more = names.map((content, i) => ({ ...added[0], id: 150 + i, content }));
  const nllb = await open(
    variant("languages", marian, {
      "tokenizer.json": { added_tokens: [...added, ...more], post_processor: template },
    }),
  );
  const french = await nllb({ src_lang: "deu_Latn", tgt_lang: "fra_Latn" });
  assert.deepEqual(french.encoded, [151, ...plain.encoded]);
  assert.deepEqual(french.target, [152, ...plain.target]);
  assert.deepEqual(french.decoderIds, [plain.decoderIds[0], 152, ...plain.target.slice(0, -1)]);
  assert.equal((await nllb({ tgt_lang: "fra_Latn" })).encoded[0], 150);
  await assert.rejects(nllb({}), /`tgt_lang` is missing; the model translates into one of 3 languages/);
  await assert.rejects(nllb({ tgt_lang: "french" }), /`tgt_lang` is not a language of the model/);
});

test("a model trained whole keeps its shared table, and its files share one file of weights", async () => {
  const model = await openTaskModel("models/phrases");
  const joined = joinGraphs(model);
  const trained = trainedWeights(joined.graph, joined.modules, ["logits"]);
  const [table, ...others] = trained.filter(({ value: { shape } }) => shape.join() === "477,96");
  assert.ok(table && others.length === 0);
  const out = join(folder, "whole");
  mkdirSync(out);
  const data = new Float32Array(477 * 96).fill(0.25);
  const weights = new Map([[table.value.name, { shape: [477, 96], data }]]);
  await writeTaskModel(out, { model, graphs: trainedGraphs(model, weights) });
  const { encoder, first, next } = encoderDecoderOf(await openTaskModel(out));
  const places = [encoder, first, next].map(({ initializers }) =>
    initializers.flatMap(({ value, data: at }) => (value.shape.join() === "477,96" ? [at] : [])),
  );
  assert.equal(places[0]?.[0]?.kind, "external");
  assert.ok(places.flat().every((place) => JSON.stringify(place) === JSON.stringify(places[0]?.[0])));
});

test("constants of an encoder-decoder that Lorikeet wrote are not trained", () => {
  const builder = new GraphBuilder("joined");
  const [x, y] = ["encoder:constant.float32.0", "encoder:body.weight"].map((name) =>
    builder.initializer(name, "float32", [1], { kind: "inline", bytes: new Uint8Array(4) }),
  );
  assert.ok(x && y);
  const [z] = builder.node("Mul", [x, y], [{ type: "float32", shape: [1], name: "logits" }]);
  builder.output(z ?? assert.fail());
  const found = trainedWeights(builder.build(), [], ["logits"]).map(({ value }) => value.name);
  assert.deepEqual(found, ["encoder:body.weight"]);
});

test("a translator learns a phrase with all its weights, and is served", onlyWhenLong, async () => {
  const options = ["--method", "full", "--learning-rate", "0.01", "--max-steps", "48", "--min-lr-rate", "0.5"];
  const { code, err, results, folder: out } = await train(marian, phrases, "translator", ...options);
  assert.equal(code, 0, err);
  assert.equal(results.validation_metrics.exact, 1, err);
  await using service = await openService({ model: out });
  const answer = await (await post(service.url, "/models/translator", { inputs: sources[0] })).json();
  assert.deepEqual(answer, [{ translation_text: target }]);
});
