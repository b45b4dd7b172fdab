/** Modules of sentence-transformers after the ONNX file: the vectors and gradients that PyTorch computes with its own modules, and refusals by name. */

import assert from "node:assert/strict";
import { cp, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { GraphBuilder } from "../../../src/graph/builder.js";
import { openOnnx } from "../../../src/graph/open.js";
import { Ops } from "../../../src/graph/ops.js";
import type { Graph } from "../../../src/graph/types.js";
import { taskTargetsOf } from "../../../src/model/task/adapter-targets.js";
import { openTaskModel } from "../../../src/model/task/open.js";
import { readTextHead } from "../../../src/model/task/text-head.js";
import { activate, activationOf } from "../../../src/model/task/vector-activations.js";
import { Tensor } from "../../../src/runtime/tensor.js";
import { SafetensorsFile } from "../../../src/tensor/safetensors.js";
import { writeTaskModel } from "../../../src/train/tasks/model-files.js";
import { embeddings } from "../../../src/train/tasks/objectives/embeddings.js";
import { openTaskAdapter } from "../../../src/train/tasks/task-adapter.js";
import { TaskStep } from "../../../src/train/tasks/task-step.js";
import { trainedWeights } from "../../../src/train/tasks/trained-weights.js";
import { readModuleVectors, withModules, writeModules } from "../../support/sentence-modules.js";
import { readExpectedTensors, relativeError, runGraph, taskRoot } from "../../support/task-models.js";

/** The graph leaves the length of vectors to the gateway. */
function unitRows(vectors: Tensor | undefined): Tensor {
  assert.ok(vectors);
  const [rows = 0, size = 0] = vectors.shape;
  const data = new Float32Array(rows * size);
  for (let row = 0; row < rows; row++) {
    const vector = (vectors.data as Float32Array).subarray(row * size, (row + 1) * size);
    const length = Math.hypot(...vector);
    data.set(
      vector.map((value) => value / length),
      row * size,
    );
  }
  return Tensor.from("float32", [rows, size], data);
}

describe("modules.json", () => {
  let folder: string;
  before(async () => {
    folder = await withModules(join(await mkdtemp(join(tmpdir(), "lorikeet-modules-")), "bert"));
  });
  after(() => rm(join(folder, ".."), { recursive: true }));

  const graphOf = async (): Promise<Graph> =>
    (await openTaskModel(folder)).opened[0]?.graphs[0]?.graph ?? assert.fail();
  const vectorsOf = async (): Promise<Tensor | undefined> =>
    (await runGraph(await graphOf(), await readExpectedTensors("bert-embeddings"))).get("sentence_embedding");

  test("poolings, Dense, LayerNorm and Normalize are PyTorch's, with the gradients that train an adapter", async () => {
    const scaled = unitRows(await vectorsOf());
    assert.ok(relativeError(scaled, await readModuleVectors("base")) <= 2e-6);
    const { modules, opened } = await openTaskModel(folder);
    assert.ok(modules.length > 10 && modules.every(({ path }) => !/Dense|linear|LayerNorm\/|norm$/.test(path)));
    const start = await openTaskAdapter(
      join(taskRoot, "bert-embeddings", "train", "initial"),
      modules,
      taskTargetsOf(modules),
    );
    const graph = opened[0]?.graphs[0]?.graph ?? assert.fail();
    const objective = embeddings({ output: "sentence_embedding", pooling: null, candidates: 1 });
    const outputs = graph.outputs.filter(({ name }) => name === "sentence_embedding");
    const parts = { targets: start.targets, initializers: [], loss: objective.loss, threads: 1 };
    using step = new TaskStep({ graph: { ...graph, outputs }, ...parts });
    await start.readInto(step.parameters);
    await using batches = await SafetensorsFile.open(join(taskRoot, "bert-embeddings", "train", "batches.safetensors"));
    const both = async (name: string): Promise<Tensor> => {
      const rows = await Promise.all([name, `positive_${name}`].map((each) => batches.read(each)));
      const ids = rows.flatMap((bytes) => [...new BigInt64Array(bytes.slice(0, 8 * 8 * 16).buffer)]);
      return Tensor.from("int64", [16, 16], BigInt64Array.from(ids));
    };
    const inputs = new Map([
      ["input_ids", await both("input_ids")],
      ["attention_mask", await both("attention_mask")],
      ["token_type_ids", Tensor.zeros("int64", [16, 16])],
    ]);
    const predict = async () => assert.fail("these targets depend on no prediction");
    const feeds = await objective.feeds(Array(8).fill(null), 8, 1 / 8, { inputs, predict });
    const loss = await step.run(new Map([...inputs, ...feeds]));
    const [expected = Number.NaN] = await readModuleVectors("loss");
    assert.ok(Math.abs(loss - expected) <= 2e-5 * expected, `${loss}, not ${expected}`);
    let compared = 0;
    for (const { name, gradient } of step.parameters) {
      if (!/layer.1.attention.self.query|layer.0.output/.test(name)) continue;
      const gradients = await readModuleVectors(`gradient.base_model.model.${name}`);
      const most = gradients.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);
      for (const [i, value] of gradients.entries()) {
        assert.ok(Math.abs(value - (gradient[i] ?? Number.NaN)) <= 5e-5 * most + 1e-9, `${name} ${i}`);
      }
      compared++;
    }
    assert.equal(compared, 4);
  });

  test("no module is trained, and a written model has the file's outputs and the modules as they are", async () => {
    const model = await openTaskModel(folder);
    const out = `${folder}-written`;
    const { graphs, label } = model.opened[0] ?? assert.fail();
    await cp(folder, out, { recursive: true });
    const weights = new Map<string, never>();
    const whole = graphs[0]?.graph ?? assert.fail();
    const trained = trainedWeights(whole, model.modules, ["sentence_embedding"]).map(({ value }) => value.name);
    assert.ok(trained.length > 10 && trained.every((name) => !name.startsWith("sentence/")));
    await writeTaskModel(out, {
      model,
      graphs: [{ label, graph: whole, modules: model.modules, weights }],
    });
    const { graph } = await openOnnx(join(out, label), label);
    assert.deepEqual(
      graph.outputs.map(({ name }) => name),
      ["last_hidden_state"],
    );
    assert.ok(graph.initializers.every(({ value }) => !value.name.startsWith("sentence/")));
  });

  test("every pooling of sentence-transformers, in its order and in the flags of earlier versions", async () => {
    const expected = await readModuleVectors("poolings");
    const modes = ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"];
    await writeModules(folder, [["Pooling", { embedding_dimension: 32, pooling_mode: modes }]]);
    assert.ok(relativeError(await vectorsOf(), expected) <= 2e-6);
    const flags = [
      "lasttoken",
      "max_tokens",
      "cls_token",
      "weightedmean_tokens",
      "mean_sqrt_len_tokens",
      "mean_tokens",
    ];
    const legacy = Object.fromEntries(flags.map((flag) => [`pooling_mode_${flag}`, true]));
    await writeModules(folder, [
      ["Pooling", { word_embedding_dimension: 32, ...legacy }],
      ["Dropout", { dropout: 0.2 }],
    ]);
    assert.ok(relativeError(await vectorsOf(), expected) <= 2e-6);
    const head = async (pooling: object) => {
      await writeModules(folder, [
        ["Pooling", pooling],
        ["Normalize", {}],
      ]);
      return await readTextHead(folder, ["modules.json"]);
    };
    // One of the plain ways stays out of the graph.
    assert.deepEqual((await head({ pooling_mode: "cls" })).pooling, ["cls"]);
    assert.deepEqual((await head({ pooling_mode: ["lasttoken"], include_prompt: false })).pooling, ["last"]);
    assert.deepEqual((await head({ pooling_mode_mean_tokens: false })).pooling, ["mean"]);
    assert.equal((await graphOf()).outputs.length, 1);
  });

  test("activations are PyTorch's; others are refused by name", async () => {
    const expected = await readModuleVectors("activations");
    const names = "Identity Tanh Sigmoid ReLU GELU SiLU Softplus Mish ELU LeakyReLU Hardswish Hardsigmoid ReLU6".split(
      " ",
    );
    const op = new Ops(new GraphBuilder("activations"));
    const x = op.builder.input("x", "float32", [1, 24]);
    const all = names.map((name) => activationOf(`torch.nn.modules.activation.${name}`) ?? assert.fail(name));
    const values = all.map((name) => activate(op, x, name));
    op.builder.output(op.concat(values, 0));
    const row = expected.slice(0, 24);
    const [found] = (
      await runGraph(op.builder.build(), new Map([["x", Tensor.from("float32", [1, 24], row)]]))
    ).values();
    assert.ok(relativeError(found, expected) <= 1e-6);
    assert.equal(activationOf("torch.nn.modules.activation.Softmax"), null);
    assert.equal(activationOf("other.Tanh"), null);
  });

  test("what is not computed is refused by name when the model opens", async () => {
    const pooling = ["Pooling", { embedding_dimension: 32, pooling_mode: "mean" }] as const;
    const dense = (settings: object) => ["Dense", { in_features: 32, out_features: 16, ...settings }] as const;
    const cases: [modules: readonly (readonly [string, object])[], message: RegExp][] = [
      [[["LSTM", {}], pooling], /has a layer LSTM in modules.json; one Transformer, then one Pooling, then any/],
      [[["constructor", {}], pooling], /has a layer constructor in modules.json/],
      [[["WeightedLayerPooling", {}], pooling], /has a layer WeightedLayerPooling in/],
      [[["Normalize", {}]], /has a layer Normalize out of place/],
      [[], /has no Pooling in/],
      [[pooling, pooling], /has a layer Pooling out of place/],
      [[["Pooling", { pooling_mode: "median" }]], /pools by "median"/],
      [[["Pooling", { pooling_mode_median: true }]], /pools by \["median"\]/],
      [[pooling, dense({ module_input_name: "token_embeddings" })], /has a layer 2_Dense over the vectors of tokens/],
      [
        [pooling, dense({ activation_function: "torch.nn.modules.activation.Softmax" })],
        /the activation "torch.*Softmax"/,
      ],
      [[pooling, dense({})], /2_Dense whose linear.weight has the sizes \[16, 64\]; \[16, 32\] is expected/],
      [[pooling, dense({ in_features: 64, bias: false })], /2_Dense for vectors of 64 values, and they have 32/],
    ];
    for (const [modules, message] of cases) {
      await writeModules(folder, modules);
      await assert.rejects(openTaskModel(folder), message);
    }
    for (const path of ["../1_Pooling", "/etc", "1_Pooling\0"]) {
      const listed = ["Transformer", "Pooling"].map((kind) => ({ type: `models.${kind}`, path }));
      await writeFile(join(folder, "modules.json"), JSON.stringify(listed));
      await assert.rejects(openTaskModel(folder), /has a layer Pooling outside the folder/);
    }
    for (const listed of [{}, [], ["Transformer", "Pooling"]]) {
      await writeFile(join(folder, "modules.json"), JSON.stringify(listed));
      await assert.rejects(openTaskModel(folder), /does not list its modules in modules.json/);
    }
    const pathless = ["Transformer", "Pooling"].map((kind) => ({ type: `models.${kind}` }));
    await writeFile(join(folder, "modules.json"), JSON.stringify(pathless));
    await assert.rejects(openTaskModel(folder), /has a layer Pooling without a path/);
    await writeModules(folder, [pooling]);
    await rm(join(folder, "1_Pooling/config.json"));
    await assert.rejects(openTaskModel(folder), /modules.json has a layer 1_Pooling without config.json/);
    // The ONNX file knows the size of a token's vector better than Pooling.
    await writeModules(folder, [["Pooling", { embedding_dimension: 384 }], dense({ in_features: 64, bias: false })]);
    await assert.rejects(openTaskModel(folder), /2_Dense for vectors of 64 values, and they have 32/);
    await writeModules(folder, [pooling, dense({ in_features: 64, bias: false })]);
    await rename(join(folder, "2_Dense/model.safetensors"), join(folder, "2_Dense/pytorch_model.bin"));
    await assert.rejects(openTaskModel(folder), /2_Dense has pytorch_model.bin, a Python pickle/);
    // A manifest's pooling is in place of Pooling's, and leaves the other modules.
    await rename(join(folder, "2_Dense/pytorch_model.bin"), join(folder, "2_Dense/model.safetensors"));
    await writeFile(join(folder, "lorikeet.json"), JSON.stringify({ pooling: "max" }));
    await assert.rejects(openTaskModel(folder), /2_Dense for vectors of 64 values/);
    const names: unknown = JSON.parse(await readFile(join(folder, "modules.json"), "utf8"));
    await writeFile(join(folder, "modules.json"), JSON.stringify((names as object[]).slice(0, 2)));
    assert.equal((await openTaskModel(folder)).addsVectors, false);
    await writeModules(folder, [["LSTM", {}]]);
    await writeFile(join(folder, "lorikeet.json"), JSON.stringify({ task: "tensors" }));
    assert.equal((await openTaskModel(folder)).addsVectors, false);
  });
});
