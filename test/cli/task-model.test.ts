/** What the commands say about task models. */

import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { describeVectors, vectorFields } from "../../src/cli/task-vectors.js";
import { openTaskModel } from "../../src/model/task/open.js";
import { halfTensor, type NodeSpec, onnxFile } from "../support/onnx-file.js";
import { runHere as run } from "../support/program.js";
import { withModules } from "../support/sentence-modules.js";
import { taskRoot } from "../support/task-models.js";

const temporary = mkdtempSync(join(tmpdir(), "lorikeet-task-cli-"));
after(() => rmSync(temporary, { recursive: true }));

test("inspect shows a task model: task, files, opsets, inputs, outputs and target modules", async () => {
  const { code, out, err } = await run(["inspect", join(taskRoot, "resnet")]);
  assert.deepEqual([code, err], [0, ""]);
  for (const line of [
    /^task +image-classification$/m,
    /^class +ResNetForImageClassification$/m,
    /^file +onnx\/model\.onnx \(whole\), opset 18, read as 21, by pytorch /m,
    /^inputs +pixel_values: float32\[batch_size, 3, 32, 32\]$/m,
    /^outputs +logits: float32\[batch_size, 5\]$/m,
    /^other files +onnx\/model_bn\.onnx, onnx\/model_dynamo\.onnx$/m,
    /^target modules +13: 12 convolutions, 1 linear layer$/m,
    /^adapters +LoRA, rsLoRA, DoRA and heads; lorikeet inspect ADAPTER --model checks one$/m,
    /^training +every operator has a gradient rule$/m,
    /^resnet\.embedder\.embedder\.convolution +convolution +3 to 12, kernel 7x7 +content, node +measured, 0\.\d+ to 1\.\d+$/m,
    /^classifier\.1 +linear +24 to 5 +content, initializer, node, bias +none$/m,
  ]) {
    assert.match(out, line);
  }
  assert.doesNotMatch(out, /warning/);
});

test("inspect says that a file without float32 weights is not trained", async () => {
  const of = async (name: string, nodes: readonly NodeSpec[], types: Readonly<Record<string, number>>) => {
    const path = join(temporary, name);
    const graph = { inputs: { x: ["batch", 2] }, outputs: { y: ["batch", 2] }, types, nodes };
    writeFileSync(path, onnxFile({ ...graph, initializers: [halfTensor("w", [2, 2], [15360, 0, 0, 15360])] }));
    return (await run(["inspect", path])).out;
  };
  const product = [{ op: "MatMul", inputs: ["x", "w"], outputs: ["y"] }];
  const half = await of("model_fp16.onnx", product, { x: 10, y: 10 });
  assert.match(half, /^training +not of this file: its weights are of type float16, not float32$/m);
  const none = await of("model_relu.onnx", [{ op: "Relu", inputs: ["x"], outputs: ["y"] }], {});
  assert.match(none, /^training +not of this file: no layer has float32 weights$/m);
});

test("inspect shows the tokenizer of a text model, and with --text the tokens that the model gets", async () => {
  const folder = join(taskRoot, "bert-sequence-classification");
  const { out } = await run(["inspect", folder]);
  assert.match(out, /^tokenizer +WordPiece, 200 tokens$/m);
  assert.match(
    out,
    /^text rules +normalizer BertNormalizer; pre-tokenizer BertPreTokenizer; post-processor TemplateProcessing$/m,
  );
  assert.match(out, /^longest text +48 tokens$/m);
  assert.match(out, /^padding +token 0, on the right$/m);
  assert.doesNotMatch(out, /^vectors/m);
  const model = await openTaskModel(await withModules(join(temporary, "modules")));
  assert.deepEqual(vectorFields(await describeVectors(model)), [
    [
      "vectors",
      "weightedmean and max, then 2_Dense (64 to 16, GELU), then 3_LayerNorm, then 4_Dense (16 to 24, Tanh), then length 1",
    ],
  ]);
  const shown = await run(["inspect", folder, "--text", "The film!", "--pair", "a dull"]);
  assert.match(shown.out, /^tokens +\d+ of at most 48$/m);
  assert.match(shown.out, /^\[CLS\] +2 +0$/m);
  assert.match(shown.out, /^the +54 +0 +1 +0-3 +0 +"The"$/m);
  assert.match(shown.out, /^a +8 +1 +2 +0-1 +0 +"a"$/m);
  const file = await run(["inspect", join(folder, "onnx", "model.onnx"), "--text", "The film!", "--pair", "a dull"]);
  assert.equal(file.out, shown.out, "a file has the tokens of its folder");
  const picture = await run(["inspect", "photo.jpg", "--text", "a"]);
  assert.match(picture.err, /--text shows the tokens of a task model; photo.jpg is a picture/);
  const json = JSON.parse((await run(["inspect", folder, "--text", "The film", "--json"])).out);
  assert.deepEqual(json.input_ids.slice(0, 2), [2, 54]);
  assert.deepEqual(json.spans.at(-2).at(-1), 8);
  const unpaired = await run(["inspect", folder, "--pair", "a dull"]);
  assert.match(unpaired.err, /--pair needs --text/);
  assert.notEqual(unpaired.code, 0);
  const long = await run(["inspect", folder, "--text", "the ".repeat(60)]);
  assert.match(long.err, /The text has 62 tokens with special tokens; the model takes at most 48\./);
});

test("inspect shows how a model prepares pictures, and with a picture what the model sees of it", async () => {
  const folder = join(taskRoot, "resnet");
  const steps =
    "resize the shorter edge to 36 (bilinear), crop to 32x32, times 0.00392157, mean 0.5 0.5 0.5, deviation 0.5 0.5 0.5";
  const { out } = await run(["inspect", folder]);
  assert.ok(out.includes(`pictures        ${steps}\n`), out);
  const { files } = JSON.parse(readFileSync("test/fixtures/images/pictures.json", "utf8"));
  const picture = join(temporary, "turned.jpg");
  writeFileSync(picture, Buffer.from(files["orientation6.jpg"].bytes, "base64"));
  const shown = await run(["inspect", picture, "--model", folder]);
  assert.match(shown.out, /^format +JPEG, 26x37, turned as its EXIF orientation 6 says$/m);
  assert.match(shown.out, /^pixel_values +\[1, 3, 32, 32\]$/m);
  assert.match(shown.out, /^red( +-?\d\.\d{6}){11}$/m);
  const json = JSON.parse((await run(["inspect", picture, "--model", folder, "--json"])).out);
  assert.deepEqual([json.shape, json.original], [[3, 32, 32], { width: 26, height: 37 }]);
  const timm = await run(["inspect", join(taskRoot, "efficientnet")]);
  assert.match(
    timm.out,
    /^pictures +resize the shorter edge to 36 \(bicubic\), crop to 32x32, divided by 255, mean 0\.485 0\.456 0\.406/m,
  );
  const alone = await run(["inspect", picture]);
  assert.match(alone.err, /A picture needs --model/);
  const policy = await run(["inspect", picture, "--model", join(taskRoot, "policy-mlp")]);
  assert.match(policy.err, /does not say how pictures are prepared/);
});

test("inspect shows both graphs of a merged decoder, and how its text begins and ends", async () => {
  const { code, out } = await run(["inspect", join(taskRoot, "marian")]);
  assert.equal(code, 0);
  assert.match(out, /^task +translation$/m);
  assert.match(out, /^generation +starts with token 2, ends with 0, at most 48 tokens$/m);
  assert.match(out, /^graph +onnx\/decoder_model_merged\.onnx with use_cache_branch false$/m);
  assert.match(out, /^graph +onnx\/decoder_model_merged\.onnx with use_cache_branch true$/m);
});

test("inspect shows a translator's languages and prefixes", async () => {
  const folder = join(temporary, "languages");
  cpSync(join(taskRoot, "marian"), folder, { recursive: true });
  const edit = (file: string, change: (json: Record<string, unknown>) => object): void => {
    const json = JSON.parse(readFileSync(join(folder, file), "utf8"));
    writeFileSync(join(folder, file), JSON.stringify({ ...json, ...change(json) }));
  };
  edit("tokenizer.json", ({ added_tokens: tokens }) => {
    const [plain, ...others] = tokens as object[];
    const languages = ["eng_Latn", "deu_Latn"].map((content, i) => ({ ...plain, id: 150 + i, content }));
    return { added_tokens: [plain, ...others, ...languages] };
  });
  edit("config.json", () => ({ prefix: "say: ", task_specific_params: { summarization: { prefix: "sum: " } } }));
  const { out, err } = await run(["inspect", folder]);
  assert.equal(err, "");
  assert.match(out, /^languages +2: eng_Latn, deu_Latn$/m);
  assert.match(out, /^prefixes +"say: ", "sum: " for summarization$/m);
  const { tokenizer, generation } = JSON.parse((await run(["inspect", folder, "--json"])).out);
  assert.deepEqual(tokenizer.languages, ["eng_Latn", "deu_Latn"]);
  assert.equal(generation.tasks.summarization.prefix, "sum: ");
});

test("inspect of a bare .onnx file warns of normalizations that may be folded", async () => {
  const bare = join(temporary, "bare.onnx");
  cpSync(join(taskRoot, "resnet", "onnx", "model.onnx"), bare);
  const { code, out } = await run(["inspect", bare]);
  assert.equal(code, 0);
  assert.match(out, /^task +tensors in, tensors out/m);
  assert.match(out, /^warning +12 convolutions may hold a batch normalization whose factor is unknown/m);
  assert.match(out, /^resnet\.embedder\.embedder\.convolution .* node +unknown$/m);
});

test("inspect --json has the same in JSON, with every factor and every name", async () => {
  const { code, out } = await run(["inspect", join(taskRoot, "efficientnet", "onnx", "model.onnx"), "--json"]);
  assert.equal(code, 0);
  const { task, files, target_modules: modules, other_biases: biases } = JSON.parse(out);
  assert.equal(task, "image-classification");
  assert.deepEqual([files.length, files[0].opset], [1, { written: 18, read: 21 }]);
  assert.deepEqual(files[0].graphs[0].inputs, [
    { name: "pixel_values", type: "float32", shape: ["batch_size", 3, 32, 32] },
  ]);
  const depthwise = modules.find(({ path }: { path: string }) => path === "blocks.0.0.conv_dw");
  assert.deepEqual([depthwise.kind, depthwise.groups, depthwise.kernel], ["convolution", 8, [3, 3]]);
  assert.equal(depthwise.folded_norm.factors.length, 8);
  assert.deepEqual(depthwise.names[0], { by: "content", path: "blocks.0.0.conv_dw" });
  const norm = biases.find(({ path }: { path: string }) => path === "blocks.0.0.bn1");
  assert.deepEqual([norm.out_features, norm.folded_into], [8, "blocks.0.0.conv_dw"]);
});

test("inspect names what is wrong with an ONNX file, and ends with the code of a broken model", async () => {
  const broken = join(temporary, "broken.onnx");
  writeFileSync(broken, "not a model");
  const found = await run(["inspect", broken]);
  assert.deepEqual([found.code, found.out], [3, ""]);
  assert.equal(found.err, "lorikeet: The ONNX file broken.onnx is not an ONNX model: its bytes cannot be decoded.\n");
  const missing = await run(["inspect", join(temporary, "none.onnx")]);
  assert.deepEqual([missing.code, /none\.onnx does not exist/.test(missing.err)], [3, true]);
});

test("commands for decoders refuse a task model in one line", async () => {
  const folder = join(taskRoot, "resnet");
  for (const model of [folder, join(folder, "onnx", "model.onnx")]) {
    for (const command of [["generate", "hello"]]) {
      const refused = await run([...command, "--model", model]);
      assert.equal(refused.code, 3, command[0]);
      assert.match(refused.err, /is a task model, and this command runs decoders: lorikeet serve .* serves it\.\n$/);
    }
  }
});

test("commands take one of a folder's ONNX files by --onnx-file, with the folder's own adapters", async () => {
  const folder = join(temporary, "policy");
  cpSync(join(taskRoot, "policy-mlp"), folder, { recursive: true });
  const chosen = ["--onnx-file", "model_dynamo.onnx"];
  const shown = JSON.parse((await run(["inspect", folder, ...chosen, "--json"])).out);
  assert.equal(shown.files[0].label, "onnx/model_dynamo.onnx");
  assert.deepEqual(shown.own_adapters, ["all-r4-rslora", "dora", "first-r8"]);
  const base = ["--model", folder, ...chosen];
  const checked = await run(["inspect", "first-r8", ...base]);
  assert.deepEqual([checked.code, checked.err], [0, ""]);
  const data = join(temporary, "transitions.jsonl");
  writeFileSync(data, `${JSON.stringify({ observation: [0, 1, 0, 1], action: 1 })}\n`.repeat(4));
  const trained = ["--data", data, "--task", "reinforcement-learning", "--threads", "1"];
  const planned = await run(["train", ...base, ...trained, "--init-from", "first-r8", "--dry-run"]);
  assert.equal(planned.code, 0, planned.err);
  const figures = await run(["eval", ...base, ...trained, "--adapter", "first-r8", "--json"]);
  assert.deepEqual([figures.code, JSON.parse(figures.out).rows], [0, 4], figures.err);
  const out = join(temporary, "merged");
  const merged = await run(["merge", ...base, "--adapter", "first-r8", "--output-dir", out]);
  assert.equal(merged.code, 0, merged.err);
  assert.equal((await run(["inspect", out])).code, 0);
  for (const command of [
    ["inspect", folder],
    ["train", "--model", folder, ...trained, "--dry-run"],
  ]) {
    const wrong = await run([...command, "--onnx-file", "model_q4.onnx"]);
    assert.deepEqual([wrong.code, /it has onnx\/model\.onnx, onnx\/model_dynamo\.onnx/.test(wrong.err)], [3, true]);
  }
});

test("inspect checks an adapter against a folder or a file, and shows what it adapts and saves", async () => {
  const bert = join(taskRoot, "bert-sequence-classification");
  const head = await run(["inspect", join(bert, "adapters", "four-labels"), "--model", bert]);
  assert.deepEqual([head.code, head.err], [0, ""]);
  assert.match(head.out, /^target modules +5 target modules$/m);
  assert.match(head.out, /^saved whole +classifier, 4 outputs$/m);
  assert.match(head.out, /^bert\.encoder\.layer\.\*\.attention\.self\.query +linear +2 +4 +8 +2 +32 +32 +F32$/m);
  const convolutions = join(taskRoot, "resnet", "adapters", "convs-r8");
  const resnet = join(taskRoot, "resnet", "onnx", "model.onnx");
  const measured = await run(["inspect", convolutions, "--model", resnet, "--json"]);
  const { modules, saved, labels } = JSON.parse(measured.out);
  assert.deepEqual([modules.length, modules[0].kind, saved, labels], [8, "convolution", [], null]);
  const bare = join(temporary, "bare-again.onnx");
  cpSync(resnet, bare);
  const unknown = await run(["inspect", convolutions, "--model", bare]);
  assert.equal(unknown.code, 5);
  assert.match(unknown.err, /was refused for 8 faults: module .* may hold a folded batch normalization/);
  const other = await run(["inspect", convolutions, "--model", bert]);
  assert.match(
    other.err,
    /^lorikeet: The adapter does not fit the base "bert-sequence-classification" \(its config names "resnet"\)/,
  );
});

test("adapters add stores an adapter of a task model with its labels, and refuses one of another model", async () => {
  const bert = join(taskRoot, "bert-sequence-classification");
  const folder = join(temporary, "labelled");
  cpSync(join(bert, "adapters", "four-labels"), folder, { recursive: true });
  writeFileSync(join(folder, "labels.json"), '["a", "b", "c", "d"]');
  const directory = mkdtempSync(join(temporary, "adapters-"));
  const where = ["--adapters", directory, "--model", bert];
  const added = await run(["adapters", "add", "four", folder, ...where]);
  assert.deepEqual([added.code, added.err], [0, "ignored: expected.safetensors\n"]);
  assert.match(added.out, /^four was created: 5 modules, rank 4, sha256:/);
  assert.match((await run(["adapters", "verify", ...where])).out, /^four: intact$/m);
  const listed = JSON.parse((await run(["adapters", "list", "--json", ...where])).out);
  const inspected = JSON.parse((await run(["inspect", folder, "--model", bert, "--json"])).out);
  const four = listed.adapters.find(({ name }: { name: string }) => name === "four");
  assert.equal(four.weights_digest, inspected.summary.weights_digest);
  const config = JSON.parse(readFileSync(join(folder, "adapter_config.json"), "utf8"));
  writeFileSync(join(folder, "adapter_config.json"), JSON.stringify({ ...config, task_type: "TOKEN_CLS" }));
  const warning = /trained for token-classification \(task_type "TOKEN_CLS"\); this base is for text-classification/;
  assert.match((await run(["adapters", "add", "tagger", folder, ...where])).err, warning);
  assert.match((await run(["inspect", folder, "--model", bert])).out, warning);
  const refused = await run(["adapters", "add", "other", join(taskRoot, "resnet", "adapters", "dora"), ...where]);
  assert.equal(refused.code, 5);
  assert.match(refused.err, /does not fit the base "bert-sequence-classification"/);
});
