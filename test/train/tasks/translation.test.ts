/** `train` over encoder-decoders: adapters and whole models, and what their rows become. */

import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { openTaskBase } from "../../../src/cli/train/task-base.js";
import { GraphBuilder } from "../../../src/graph/builder.js";
import { encoderDecoderOf } from "../../../src/model/task/encoder-decoder.js";
import { joinGraphs } from "../../../src/model/task/joined-graph.js";
import { openTaskModel } from "../../../src/model/task/open.js";
import type { TranslationSource } from "../../../src/train/tasks/inputs/translation-inputs.js";
import { trainedGraphs, writeTaskModel } from "../../../src/train/tasks/model-files.js";
import { trainedWeights } from "../../../src/train/tasks/trained-weights.js";
import { post } from "../../support/client.js";
import { onlyWhenLong } from "../../support/long.js";
import { runHere } from "../../support/program.js";
import { openService } from "../../support/service.js";
import { taskRoot } from "../../support/task-models.js";
import { folder, readJson, rowsFile, train, variant } from "../../support/task-training.js";

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
  const languages = variant("languages", marian, {
    "tokenizer.json": { added_tokens: [...added, ...more], post_processor: template },
  });
  const nllb = await open(languages);
  const french = await nllb({ src_lang: "deu_Latn", tgt_lang: "fra_Latn" });
  assert.deepEqual(french.encoded, [151, ...plain.encoded]);
  assert.deepEqual(french.target, [152, ...plain.target]);
  assert.deepEqual(french.decoderIds, [plain.decoderIds[0], 152, ...plain.target.slice(0, -1)]);
  assert.equal((await nllb({ tgt_lang: "fra_Latn" })).encoded[0], 150);
  const rows = [0, 1, 2, 3].map(() => ({ source: sources[0], target, src_lang: "deu_Latn", tgt_lang: "fra_Latn" }));
  const trained = await train(languages, rowsFile("languages", rows), "languages", "--max-steps", "1");
  assert.equal(trained.code, 0, trained.err);
  const [, body = ""] = /-d '(.*)'/.exec(readFileSync(join(trained.folder, "README.md"), "utf8")) ?? [];
  assert.deepEqual(JSON.parse(body.replaceAll("'\\''", "'")), {
    inputs: sources[0],
    parameters: { src_lang: "deu_Latn", tgt_lang: "fra_Latn" },
  });
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
