/** `lorikeet.json` of a model's folder: what it says is what the model is, and what it must not say is refused by name. */

import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { detectorOf } from "../../../src/model/task/detector.js";
import { openTaskFolder } from "../../../src/model/task/folder.js";
import { parseManifest } from "../../../src/model/task/manifest.js";
import { openTaskModel } from "../../../src/model/task/open.js";
import { readTextHead } from "../../../src/model/task/text-head.js";
import { floatTensor, onnxFile } from "../../support/onnx-file.js";
import { writeModules } from "../../support/sentence-modules.js";

/** As Paddle's exporter names things: no module's name is left. */
const paddle = onnxFile({
  inputs: { x: ["batch", 3, 4, 4] },
  outputs: { "save_infer_model/scale_0.tmp_0": ["batch", 2, 4, 4] },
  initializers: [
    floatTensor("conv2d_0.w_0", [2, 3, 1, 1], [1, 2, 3, 4, 5, 6]),
    floatTensor("conv2d_0.b_0", [2], [0, 1]),
  ],
  nodes: [
    { op: "Conv", name: "p2o.Conv.0", inputs: ["x", "conv2d_0.w_0", "conv2d_0.b_0"], outputs: ["a"] },
    { op: "Relu", name: "p2o.Relu.0", inputs: ["a"], outputs: ["save_infer_model/scale_0.tmp_0"] },
  ],
});

const manifest = {
  task: "image-classification",
  files: { model: "onnx/inference.onnx" },
  inputs: { x: { from: "pixel_values" } },
  outputs: { logits: "save_infer_model/scale_0.tmp_0" },
  labels: ["up", "down"],
  pooling: "cls",
  normalize: false,
  threshold: 0.3,
  scores: "sigmoid",
  foldedNorms: false,
  rename: { "p2o.Conv.0": "backbone.conv1" },
};

describe("a model's manifest", () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "lorikeet-manifest-"));
    await mkdir(join(folder, "onnx"));
    await writeFile(join(folder, "onnx", "inference.onnx"), paddle);
    await writeFile(join(folder, "other.onnx"), paddle);
  });
  after(() => rm(folder, { recursive: true }));
  const write = (json: unknown) => writeFile(join(folder, "lorikeet.json"), JSON.stringify(json));

  test("names task, files, inputs, outputs, modules and labels, and says that no norm was folded", async () => {
    await write(manifest);
    const { task, opened, modules, otherFiles } = await openTaskModel(folder);
    assert.deepEqual(
      [task, opened.map(({ label }) => label), otherFiles],
      [manifest.task, ["onnx/inference.onnx"], ["other.onnx"]],
    );
    const graph = opened[0]?.graphs[0]?.graph;
    assert.deepEqual([graph?.inputs[0]?.name, graph?.outputs[0]?.name], ["pixel_values", "logits"]);
    assert.deepEqual([graph?.nodes[0]?.inputs[0]?.name, graph?.nodes[1]?.outputs[0]?.name], ["pixel_values", "logits"]);
    const [module, ...others] = modules;
    assert.deepEqual(
      [module?.path, module?.names[0]?.by, module?.foldedNorm.kind, others],
      ["backbone.conv1", "manifest", "none", []],
    );
    const { pooling, normalizes, labels } = await readTextHead(folder, [], { manifest: parseManifest(manifest) });
    assert.deepEqual([pooling, normalizes, labels], [["cls"], false, ["up", "down"]]);
    // Without the manifest, nobody knows which of the two files is meant, nor whether the bias is a norm's.
    await write({});
    await assert.rejects(openTaskModel(folder), /holds onnx\/inference.onnx, other.onnx/);
    const bare = await openTaskModel(join(folder, "other.onnx"));
    assert.equal(bare.modules[0]?.foldedNorm.kind, "unknown");
  });

  test("a classifier of pictures needs no manifest for the names of its only input and output", async () => {
    const timm = await mkdtemp(join(tmpdir(), "lorikeet-timm-"));
    after(() => rm(timm, { recursive: true }));
    await writeFile(join(timm, "config.json"), JSON.stringify({ architecture: "resnet18" }));
    const namesOf = async (output: string, sizes: readonly (string | number)[] = ["batch", 2]) => {
      const nodes = [
        { op: "Conv", inputs: ["input0", "w"], outputs: ["h"] },
        { op: "ReduceMean", inputs: ["h"], outputs: [output], attributes: { axes: [2, 3], keepdims: 0 } },
      ];
      const initializers = [floatTensor("w", [2, 3, 1, 1], [1, 2, 3, 4, 5, 6])];
      const shapes = { inputs: { input0: ["batch", 3, 4, 4] }, outputs: { [output]: sizes } };
      await writeFile(join(timm, "model.onnx"), onnxFile({ ...shapes, initializers, nodes }));
      const graph = (await openTaskModel(timm)).opened[0]?.graphs[0]?.graph;
      return [graph?.inputs[0]?.name, graph?.outputs[0]?.name];
    };
    assert.deepEqual(await namesOf("output0"), ["pixel_values", "logits"]);
    assert.deepEqual(await namesOf("logits"), ["pixel_values", "logits"]);
    assert.deepEqual(await namesOf("map", ["batch", 2, 1, 1]), ["input0", "map"]);
    // What the manifest says is all of it.
    await writeFile(join(timm, "lorikeet.json"), JSON.stringify({ outputs: { scores: "output0" } }));
    assert.deepEqual(await namesOf("output0"), ["input0", "scores"]);
  });

  test("a default prompt of sentence-transformers is named and not forgotten, unless the manifest says how vectors are made", async () => {
    const prompted = await mkdtemp(join(tmpdir(), "lorikeet-prompt-"));
    after(() => rm(prompted, { recursive: true }));
    const settings = { prompts: { query: "query: ", none: "" }, default_prompt_name: "query" };
    const names = ["modules.json", "config_sentence_transformers.json"];
    await writeModules(prompted, [["Pooling", {}]]);
    const headOf = async (default_prompt_name: string | null) => {
      const text = JSON.stringify({ ...settings, default_prompt_name });
      await writeFile(join(prompted, "config_sentence_transformers.json"), text);
      return readTextHead(prompted, names);
    };
    const { pooling } = await headOf("query");
    assert.match("refusal" in pooling ? pooling.refusal : "", /has a default prompt, "query: ", in config_/);
    for (const name of ["none", null]) assert.deepEqual((await headOf(name)).pooling, ["mean"]);
    await headOf("query");
    assert.deepEqual((await readTextHead(prompted, names, { manifest: { pooling: "cls" } })).pooling, ["cls"]);
  });

  test("in a run's record it is the model", async () => {
    await write({ settings: {}, data: {}, labels: [], model: { files: manifest.files, foldedNorms: false } });
    assert.equal((await openTaskModel(folder)).modules[0]?.foldedNorm.kind, "none");
    await write({ settings: {}, data: {}, labels: [], model: { folded: 1 } });
    await assert.rejects(openTaskFolder(folder), /`folded` of lorikeet.json is not known/);
    await write({ settings: {}, data: {} });
    assert.deepEqual((await openTaskFolder(join(folder, "other.onnx"))).manifest, {});
  });

  test("what the model does not have is refused by name", async () => {
    const cases: [json: object, message: RegExp][] = [
      [{ files: { model: "onnx/model.onnx" } }, /names "onnx\/model.onnx" as a file, which is not in the folder/],
      [
        { ...manifest, weights: "model.safetensors" },
        /names "model.safetensors" as weights, which is not in the folder/,
      ],
      [{ ...manifest, inputs: { y: "pixel_values" } }, /names the input "y"; onnx\/inference.onnx has x/],
      [{ ...manifest, outputs: { logits: "scores" } }, /names the output "scores"/],
      [
        { ...manifest, outputs: { a: "save_infer_model/scale_0.tmp_0" } },
        /gives the name "a".*has another value of that name/,
      ],
      [{ ...manifest, rename: { "p2o.Conv.1": "b" } }, /names "p2o.Conv.1", which is not a target module/],
    ];
    for (const [json, message] of cases) {
      await write(json);
      await assert.rejects(openTaskModel(folder), (error: Error & { code?: string }) => {
        assert.equal(error.code, "model_invalid");
        assert.match(error.message, message);
        return true;
      });
    }
  });
});

test("a manifest is read strictly", () => {
  const cases: [json: unknown, message: RegExp][] = [
    [[], /lorikeet.json must be an object/],
    [{ tasks: "a" }, /`tasks` of lorikeet.json is not known; task, files/],
    [{ task: "dancing" }, /`task` of lorikeet.json must be a task/],
    [{ files: {} }, /must name a file/],
    [{ files: { whole: "a.onnx" } }, /`files.whole` of lorikeet.json is not a file of a model; model, encoder/],
    [{ files: { model: "../a.onnx" } }, /must be the path of a .onnx file below the folder/],
    [{ files: { model: "/a.onnx" } }, /must be the path/],
    [{ files: { model: "a\\..\\b.onnx" } }, /must be the path/],
    [{ weights: "a.bin" }, /must be the path of a .safetensors file/],
    [{ inputs: { a: { to: "b" } } }, /`inputs.a` of lorikeet.json must be a name/],
    [{ inputs: { a: "x", b: "x" } }, /`inputs` of lorikeet.json names "[ab]" twice/],
    [{ outputs: { logits: "a", boxes: "a" } }, /names "a" twice/],
    [{ labels: [] }, /must be a list of 1 to 100000 names/],
    [{ labels: ["a", 7] }, /`labels\[1\]` of lorikeet.json must be a name/],
    [{ pooling: "median" }, /must be one of mean, cls, max, last/],
    [{ normalize: 1 }, /must be true or false/],
    [{ threshold: 2 }, /must be a number from 0 to 1/],
    [{ scores: "none" }, /must be one of softmax, sigmoid/],
    [{ foldedNorms: true }, /must be false/],
    [{ rename: { a: "" } }, /`rename.a` of lorikeet.json must be a name/],
    [JSON.parse('{"__proto__": 1}'), /`__proto__` of lorikeet.json is not known/],
    [{ constructor: 1 }, /`constructor` of lorikeet.json is not known/],
  ];
  for (const [json, message] of cases) assert.throws(() => parseManifest(json), message);
});

test("detectors trained with focal loss are known by their class, and by the manifest", () => {
  assert.deepEqual(detectorOf("YolosForObjectDetection", {}), {
    scores: { kind: "softmax", isAssumed: false },
    threshold: 0.5,
  });
  assert.deepEqual(detectorOf("RTDetrForObjectDetection", {}).scores, { kind: "sigmoid", top: null });
  assert.deepEqual(detectorOf("DeformableDetrForObjectDetection", { threshold: 0.3 }), {
    ...{ scores: { kind: "sigmoid", top: 100 }, threshold: 0.3 },
  });
  assert.deepEqual(detectorOf(null, { scores: "sigmoid" }).scores, { kind: "sigmoid", top: null });
  assert.deepEqual(detectorOf("RTDetrForObjectDetection", { scores: "softmax" }).scores, {
    kind: "softmax",
    isAssumed: false,
  });
});
