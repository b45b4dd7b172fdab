/** `train` over task models as a user runs it: what it trains is served by upload and answers as it was trained. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { GraphBuilder } from "../../../src/graph/builder.js";
import { openOnnx } from "../../../src/graph/open.js";
import { pruneGraph } from "../../../src/graph/prune.js";
import { serializeGraph } from "../../../src/graph/serialize.js";
import { SafetensorsFile } from "../../../src/tensor/safetensors.js";
import { spansOf } from "../../../src/train/tasks/objectives/tagging.js";
import { post } from "../../support/client.js";
import { isLong, onlyWhenLong } from "../../support/long.js";
import { pngOf } from "../../support/png-file.js";
import { runHere } from "../../support/program.js";
import { adaptersFolder, openService } from "../../support/service.js";
import { taskRoot } from "../../support/task-models.js";
import { folder, readJson, rowsFile, short, train, variant } from "../../support/task-training.js";
import { writeByteTokenizer, writeTinyModel } from "../../support/tiny-model.js";

const words = { up: ["fine", "warm", "honest"], down: ["dull", "weak", "badly"] } as const;
const reviews = rowsFile(
  "reviews",
  Array.from({ length: 48 }, (_, i) => {
    const label = i % 2 === 0 ? "up" : "down";
    return { text: `the film is ${words[label][i % 3]} and ${words[label][(i >> 1) % 3]} .`, label };
  }),
);
const bert = join(taskRoot, "bert-sequence-classification");
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

test("trained biases of an adapter are trained further, those of normalizations too", async () => {
  const rows = Array.from({ length: 8 }, (_, i) => {
    return { text: `the film is ${words.up[i % 3]} .`, label: ["positive", "negative", "neutral"][i % 3] };
  });
  const source = join(bert, "adapters", "biases-all");
  const trained = await train(bert, rowsFile("moods", rows), "biased", "--init-from", source, "--max-steps", "1");
  assert.equal(trained.code, 0, trained.err);
  assert.ok(trained.results.served_check.difference < 1e-5, JSON.stringify(trained.results.served_check));
  assert.equal(readJson(join(trained.folder, "adapter_config.json")).bias, "all");
  await using before = await SafetensorsFile.open(join(source, "adapter_model.safetensors"));
  await using after = await SafetensorsFile.open(join(trained.folder, "adapter_model.safetensors"));
  // PEFT writes the bias of a module that is saved whole twice.
  const repeated = /modules_to_save|original_module/;
  assert.deepEqual(
    [...after.tensors.keys()].sort(),
    [...before.tensors.keys()].filter((name) => !repeated.test(name)).sort(),
  );
  const norms = [...after.tensors.keys()].filter((name) => name.endsWith("LayerNorm.bias"));
  assert.equal(norms.length, 5);
  for (const name of norms) assert.notDeepEqual(await after.readFloat32(name), await before.readFloat32(name), name);
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
  const resnet = join(taskRoot, "resnet");
  const pictures = join(folder, "pictures");
  const options = ["--labels", "light,dark", "--learning-rate", "0.02"];
  const { code, err, results } = await train(resnet, pictures, "shades", ...options);
  assert.equal(code, 0, err);
  assert.equal(results.validation_metrics.accuracy, 1);
  assert.ok(results.served_check.difference < 1e-5);
  assert.match(err, /norms +batch normalizations keep their statistics/);
  const full = await train(resnet, pictures, "refused", ...options, "--method", "full");
  assert.match(
    full.err,
    /--labels names 2 labels, for which an adapter gets a fresh head.* are id2label of its config/,
  );
  const unnamed = await train(resnet, pictures, "refused", "--method", "full");
  assert.match(unnamed.err, /For an adapter, --labels \S+ makes a head for the data's own labels/);
  for (const label of ["light", "dark"]) writeFileSync(join(pictures, "train", label, "7.png"), "broken");
  const broken = await train(resnet, pictures, "refused", ...options);
  const faults = broken.err.split("\n").filter((line) => line.startsWith("  - "));
  const own = (label: string): string => `  - ${join(pictures, "train", label, "7.png")}: cannot be read: The image`;
  assert.equal(faults.length, 2, broken.err);
  for (const [i, label] of ["dark", "light"].entries()) assert.ok(faults[i]?.startsWith(own(label)), broken.err);
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
    [
      { image: "a.png", objects: [{ box: [4, 3, 50, 27], label: "box" }] },
      /object 1 \[4, 3, 50, 27\]; which is not inside the picture of 48 x 32 pixels/,
    ],
    [{ image: "a.png", objects: [{ box: [9, 3, 9, 27], label: "box" }] }, /\[9, 3, 9, 27\]; which is empty/],
    [{ image: "a.png", objects: [{ box: [9, 3, 4, 27], label: "box" }] }, /\[9, 3, 4, 27\]; xmin and ymin come first/],
    [
      { image: "a.png", objects: [{ box: [null, 0, 0, 0], label: "box" }] },
      /\[null, 0, 0, 0\]; xmin, ymin, xmax and ymax/,
    ],
    [{ image: "train.jsonl", objects }, /cannot be read \(train\.jsonl\): .*[^.]\n/],
    [{ image: "a.png", objects: { box: [1, 1, 2, 2] } }, /must have a list as `objects`/],
    [{ image: "a.png", objects: [{ box: [1, 1, 2, 2], label: "cow" }] }, /has the label cow; the model has/],
  ] as const) {
    assert.match((await learn(row, 2)).err, message);
  }
});

test("odd data is told: a single label, empty texts, a missing name", async () => {
  const odd = rowsFile("odd", [
    { text: "a fine film", label: "positive" },
    { text: " ", label: "positive" },
  ]);
  const { err } = await train(bert, odd, "odd", "--dry-run");
  assert.match(err, /^warning: 1 row has an empty text; the first is at .*odd\.jsonl:2\.$/m);
  assert.match(err, /^warning: All 2 rows have the label "positive": /m);
  const gap = await train(bert, odd, "odd", "--labels", "x,,y");
  assert.match(gap.err, /--labels.* must be words separated by commas; number 2 is empty/);
});

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
    [
      join(taskRoot, "bert-embeddings"),
      ...([
        reviews,
        ["--task", "text-classification", "--labels", "up,down"],
        /no classification layer for the labels: none gives its output \w+\. Export the class that has one/,
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
  const kept = rowsFile("kept", [{ text: "fine", label: "positive" }]);
  for (const [name, data, more, message] of [
    ["four-labels", reviews, ["--labels", "down,up"], /takes a head of 2 outputs, but .* keeps its head of 4 outputs/],
    ["four-labels", kept, [], /The head of the --init-from adapter has 4 outputs without names: --labels names them/],
    [
      "attn-r8",
      reviews,
      ["--labels", "down,up", "--lora-r", "8"],
      /takes a head of 2 outputs, but .* keeps the base's head/,
    ],
  ] as const) {
    const refused = await train(bert, data, "refused", "--init-from", join(bert, "adapters", name), ...more);
    assert.equal(refused.code, 2);
    assert.match(refused.err, message);
  }
  const norms = await train(bert, kept, "refused", "--init-from", join(bert, "adapters", "norms"));
  assert.match(norms.err, /adapter that replaces normalizations \(modules_to_save\), which are not trained/);
});

test("data and options that do not fit a task model are refused before anything is written", async () => {
  const wrong = rowsFile("wrong", [{ text: "no label" }, { text: "fine", label: "up" }]);
  for (const [data, more, message] of [
    [
      reviews,
      [],
      /labels down, up; the model has negative, neutral, positive\. For an adapter, --labels down,up makes a head/,
    ],
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
    [
      reviews,
      ["--labels", "up,down", "--modules-to-save", "query"],
      /--modules-to-save must name the layer that gives the labels \(classifier\): --labels makes a new one/,
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
  const forms = [
    ["triples", rows],
    [
      "scored",
      rows.flatMap(({ anchor: text, positive, negative }) => [
        { text, text_pair: positive, score: 1 },
        { text, text_pair: negative, score: 0 },
      ]),
    ],
    ["pairs", rows.map(({ negative: _, ...pair }) => pair)],
  ] as const;
  for (const [name, data] of isLong ? forms : forms.slice(0, 2)) {
    const { code, err, results } = await train(embedder, rowsFile(name, data), name);
    assert.equal(code, 0, err);
    assert.ok(results.validation_loss < results.base_validation_loss, name);
    assert.ok(results.served_check.difference < 1e-5);
    const [sample] = results.samples;
    const expected = name === "scored" ? /^[01]$/ : /^\w+ \w+$/;
    const answer = name === "scored" ? /^-?[01]\.\d\d$/ : /^\w+ ?[\w,]+$/;
    assert.equal(results.samples.length, 2, name);
    assert.match(sample.prompt, name === "scored" ? /^\w+ ?\. \/ \w+/ : /^\w+ ?\.$/);
    assert.match(sample.expected, expected);
    for (const text of [sample.before, sample.after]) assert.match(text, answer);
    if (name === "scored")
      assert.ok(results.validation_metrics.spearman > 0.5, JSON.stringify(results.validation_metrics));
  }
  const mixed = rowsFile("mixed", [...rows, { text: "a", text_pair: "b", score: 0.5 }]);
  assert.match((await train(embedder, mixed, "refused")).err, /mixes rows with a `negative` and rows with a `score`/);
  const pairs = rowsFile("alone", forms[2][1]);
  const alone = await train(embedder, pairs, "refused", "--batch-size", "1");
  assert.equal(alone.code, 2);
  assert.match(alone.err, /told apart from: --batch-size is 1; at least 2 are needed/);
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
  const [sample] = results.samples;
  assert.equal(sample.after, sample.expected, JSON.stringify(results.samples));
  assert.deepEqual(
    [sample.prompt.split(" ").length, [...new Set<string>(sample.expected.split(" "))].sort()],
    [film.length, ["B-X", "I-X", "O"]],
  );
  const uneven = rowsFile("uneven", [{ tokens: ["a", "b"], tags: ["O"] }]);
  assert.match((await train(tagger, uneven, "uneven")).err, /uneven\.jsonl:1: has 2 `tokens` and 1 `tags`/);
});

test("spans are counted as seqeval counts them", () => {
  assert.deepEqual([...spansOf(["B-A", "I-A", "O", "I-A", "B-A", "I-B"])], ["0-2 A", "3-4 A", "4-5 A", "5-6 B"]);
  assert.deepEqual([...spansOf(["O", "X", "X"])], ["1-3 X"]);
});
