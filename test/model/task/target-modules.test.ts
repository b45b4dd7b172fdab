/** The target modules of every model, against the names and shapes of adapters that PEFT wrote for them. */

import assert from "node:assert/strict";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, test } from "node:test";
import { modulesAt } from "../../../src/model/task/names.js";
import { openTaskModel, type TaskModel } from "../../../src/model/task/open.js";
import type { TaskModule } from "../../../src/model/task/target-modules.js";
import { SafetensorsFile } from "../../../src/tensor/safetensors.js";
import { writeSafetensors } from "../../../src/tensor/safetensors-write.js";
import { floatTensor, graphOf, type NodeSpec, onnxFile } from "../../support/onnx-file.js";
import { onnxFilesOf, taskModels, taskRoot } from "../../support/task-models.js";

type Keys = Record<string, Record<string, number[]>>;

/** Shapes of PEFT's tensors by adapter and key. */
const keysOf = (model: string): Keys => JSON.parse(readFileSync(join(taskRoot, model, "adapter-keys.json"), "utf8"));

/** Each key must mean one module, and have the shape that fits it. Returns how many did. */
function checkKeys(modules: readonly TaskModule[], adapters: Keys): number {
  const keys = Object.values(adapters).flatMap((adapter) => Object.entries(adapter));
  for (const [key, shape] of keys) {
    const name = key.replace(/^base_model\.model\./, "");
    const [, path = "", part = ""] = /^(.*?)\.(lora_\w+|weight|bias)(?:\.weight)?$/.exec(name) ?? [];
    const found = modulesAt(modules, path);
    assert.deepEqual([key, found.map((module) => module.path)], [key, [found[0]?.path]]);
    checkShape(key, part, shape, found[0] as TaskModule);
  }
  return keys.length;
}

function checkShape(key: string, part: string, shape: readonly number[], module: TaskModule): void {
  const { inFeatures, outFeatures, kernel, groups } = module;
  const rest = shape.slice(1);
  const ones = kernel.map(() => 1);
  if (part === "lora_A") assert.deepEqual(rest, [inFeatures, ...kernel], key);
  if (part === "lora_B") {
    assert.equal(shape[0], outFeatures, key);
    assert.deepEqual(rest.slice(1), ones, key);
    assert.ok(groups === 1 || kernel.length > 0, key);
  }
  if (part === "lora_magnitude_vector")
    assert.deepEqual(shape, kernel.length ? [1, outFeatures, ...ones] : [outFeatures], key);
  if (part === "lora_embedding_A") assert.deepEqual([module.kind, rest], ["table", [inFeatures]], key);
  if (part === "lora_embedding_B") assert.deepEqual([module.kind, shape[0]], ["table", outFeatures], key);
  if (part === "weight") assert.deepEqual(rest, [inFeatures], key);
}

const sources = (model: TaskModel): string[] => model.modules.map(({ names }) => names[0]?.by ?? "none");

for (const model of taskModels.filter((name) => name !== "marian")) {
  for (const path of onnxFilesOf(model)) {
    test(`every key of PEFT's adapters finds its module in ${path.slice(taskRoot.length + 1)}`, async () => {
      const opened = await openTaskModel(path);
      assert.ok(checkKeys(opened.modules, keysOf(model)) > 0);
      assert.ok(
        sources(opened).every((source) => source === "content"),
        sources(opened).join(),
      );
      assert.ok(opened.modules.every(({ foldedNorm }) => foldedNorm.kind !== "unknown"));
    });
  }
}

test("the adapters of an encoder-decoder find each module in its own file, and once in both branches", async () => {
  const opened = await openTaskModel(join(taskRoot, "marian"));
  assert.deepEqual([opened.task, opened.architecture], ["translation", "MarianMTModel"]);
  assert.deepEqual(
    opened.files.map(({ role }) => role),
    ["encoder", "merged-decoder"],
  );
  assert.ok(checkKeys(opened.modules, keysOf("marian")) > 0);
  const usesOf = (path: string) =>
    modulesAt(opened.modules, path).map(({ uses }) => uses.map(({ graph }) => graph.role));
  assert.deepEqual(usesOf("model.encoder.layers.0.self_attn.q_proj"), [["encoder"]]);
  assert.deepEqual(usesOf("model.decoder.layers.0.self_attn.q_proj"), [["merged-decoder", "merged-decoder"]]);
  assert.deepEqual(usesOf("model.decoder.layers.1.encoder_attn.k_proj"), [["merged-decoder"]]);
});

test("a folded batch normalization is measured: gamma / sqrt(variance + epsilon) of each output", async () => {
  const folder = join(taskRoot, "resnet");
  await using file = await SafetensorsFile.open(join(folder, "model.safetensors"));
  for (const name of ["model.onnx", "model_dynamo.onnx"]) {
    const { modules } = await openTaskModel(join(folder, "onnx", name));
    const convolutions = modules.filter(({ kind }) => kind === "convolution");
    assert.equal(convolutions.length, 12);
    for (const { path, foldedNorm } of convolutions) {
      assert.ok(foldedNorm.kind === "measured", path);
      const norm = path.replace(/convolution$/, "normalization");
      const [gamma, variance] = [
        await file.readFloat32(`${norm}.weight`),
        await file.readFloat32(`${norm}.running_var`),
      ];
      for (const [output, factor] of foldedNorm.factors.entries()) {
        const expected = (gamma[output] as number) / Math.sqrt((variance[output] as number) + 1e-5);
        assert.ok(Math.abs(factor - expected) <= 1e-5 * Math.abs(expected), `${path} ${output}`);
      }
    }
  }
  const { modules } = await openTaskModel(join(folder, "onnx", "model_bn.onnx"));
  assert.ok(modules.every(({ foldedNorm }) => foldedNorm.kind === "none"));
});

const temporary = mkdtempSync(join(tmpdir(), "lorikeet-task-"));
after(() => rmSync(temporary, { recursive: true }));

test("where the checkpoint has no batch normalization, none was folded, even into a weight that it stores in parts", async () => {
  const folder = join(temporary, "parts");
  mkdirSync(folder, { recursive: true });
  const initializers = [floatTensor("w", [2, 3, 1, 1], [1, 2, 3, 4, 5, 6]), floatTensor("b", [2], [1, 2])];
  const conv = { op: "Conv", name: "/pos_conv/conv/Conv", inputs: ["x", "w", "b"], outputs: ["y"] };
  const graph = { inputs: { x: [1, 3, 4, 4] }, outputs: { y: [1, 2, 4, 4] }, initializers, nodes: [conv] };
  writeFileSync(join(folder, "model.onnx"), onnxFile(graph));
  const kinds = async (name: string) => {
    const shape = { dtype: "F32", shape: [2], data_offsets: [0, 8] };
    const header = Buffer.from(JSON.stringify({ [name]: shape }));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(header.length));
    writeFileSync(join(folder, "model.safetensors"), Buffer.concat([length, header, Buffer.alloc(8)]));
    return (await openTaskModel(folder)).modules.map(({ foldedNorm }) => foldedNorm.kind);
  };
  assert.deepEqual(await kinds("pos_conv.conv.parametrizations.weight.original0"), ["none"]);
  assert.deepEqual(await kinds("norm.running_var"), ["unknown"]);
});

test("without the checkpoint, names come from the export, and a norm that may be folded counts as unknown", async () => {
  for (const model of taskModels.filter((name) => name !== "marian")) {
    for (const path of onnxFilesOf(model)) {
      mkdirSync(join(temporary, model), { recursive: true });
      const bare = join(temporary, model, basename(path));
      cpSync(path, bare);
      const opened = await openTaskModel(bare);
      assert.equal(opened.task, "tensors");
      assert.ok(checkKeys(opened.modules, keysOf(model)) > 0, path);
      const folded = opened.modules.filter(({ foldedNorm }) => foldedNorm.kind === "unknown");
      const convolutions = opened.modules.filter(({ kind }) => kind === "convolution");
      const hasNone = path.endsWith("model_bn.onnx") || convolutions.length === 0;
      assert.equal(folded.length, hasNone ? 0 : convolutions.length, path);
    }
  }
});

test("a folded normalization's bias belongs to the convolution that its numbers tell, and to none without a checkpoint", async () => {
  for (const model of ["resnet", "efficientnet"]) {
    for (const path of onnxFilesOf(model)) {
      const { modules } = await openTaskModel(path);
      const biases = modules.filter(({ kind }) => kind === "bias");
      const isFolded = !path.endsWith("model_bn.onnx");
      assert.ok(biases.length > 10);
      for (const { path: norm, foldedInto, uses } of biases) {
        const names: readonly RegExp[] = [/normalization$|bn(\d)$/, /convolution$|conv\w*$/];
        const [parent, other] = [norm, foldedInto ?? norm.replace(/normalization$/, "convolution")].map((name, i) =>
          name.replace(names[i] as RegExp, ""),
        );
        assert.deepEqual([parent, foldedInto !== null, uses.length], [other, isFolded, isFolded ? 0 : 1], norm);
      }
    }
  }
  const { modules } = await openTaskModel(join(temporary, "resnet", "model.onnx"));
  assert.equal(modules.filter(({ kind }) => kind === "bias").length, 0);
});

test("a normalization that was folded into a linear layer is measured, and has its bias there", async () => {
  const parent = join(temporary, "folded-linear");
  mkdirSync(parent);
  const gemm = { op: "Gemm", inputs: ["x", "fc.weight", "fc.bias"], outputs: ["y"], attributes: { transB: 1 } };
  const weight = floatTensor("fc.weight", [2, 2], [2, 4, 1.5, 2]);
  const initializers = [weight, floatTensor("fc.bias", [2], [0.2, -1.4])];
  const file = onnxFile({ inputs: { x: ["rows", 2] }, outputs: { y: ["rows", 2] }, nodes: [gemm], initializers });
  writeFileSync(join(parent, "model.onnx"), file);
  const vectors = {
    "fc.bias": [0.1, 0.2],
    ...{ "bn.weight": [2, 0.5], "bn.bias": [1, -1], "bn.running_mean": [0.5, 1], "bn.running_var": [1, 1] },
  };
  const tensors = Object.entries({ "fc.weight": [1, 2, 3, 4], ...vectors }).map(([name, values]) => {
    const shape = name === "fc.weight" ? [2, 2] : [2];
    return { name, dtype: "F32" as const, shape, data: Float32Array.from(values) };
  });
  await writeSafetensors(join(parent, "model.safetensors"), tensors, { format: "pt" });
  const { modules } = await openTaskModel(parent);
  const [layer, bias] = [modules.find(({ path }) => path === "fc"), modules.find(({ path }) => path === "bn")];
  assert.ok(layer?.foldedNorm.kind === "measured");
  assert.deepEqual([...layer.foldedNorm.factors], [2, 0.5]);
  assert.deepEqual([bias?.kind, bias?.foldedInto], ["bias", "fc"]);
});

test("a bias of zeros that an export left out is back where the checkpoint has it, and nowhere else", async () => {
  const parent = join(temporary, "lost-bias");
  mkdirSync(parent);
  const weights = { "fc.weight": [1, 2, 3, 4], "head.weight": [5, 6, 7, 8] };
  const gemm = (name: string, x: string, y: string) => {
    return { op: "Gemm", inputs: [x, `${name}.weight`], outputs: [y], attributes: { transB: 1 } };
  };
  const initializers = Object.entries(weights).map(([name, values]) => floatTensor(name, [2, 2], values));
  const nodes = [gemm("fc", "x", "h"), gemm("head", "h", "y")];
  const file = onnxFile({ inputs: { x: ["rows", 2] }, outputs: { y: ["rows", 2] }, nodes, initializers });
  writeFileSync(join(parent, "model.onnx"), file);
  const found = async (biases: Record<string, number[]>) => {
    const tensors = Object.entries({ ...weights, ...biases }).map(([name, values]) => {
      const shape = name.endsWith("weight") ? [2, 2] : [2];
      return { name, dtype: "F32" as const, shape, data: Float32Array.from(values) };
    });
    await writeSafetensors(join(parent, "model.safetensors"), tensors, { format: "pt" });
    const { modules } = await openTaskModel(parent);
    return modules.map(({ path, uses }) => [path, uses[0]?.target.bias?.values.value.name ?? null]);
  };
  const expected = (bias: string | null) => [
    ["fc", null],
    ["head", bias],
  ];
  assert.deepEqual(await found({ "head.bias": [0, 0] }), expected("head.bias"));
  assert.deepEqual(await found({ "head.bias": [0, 1] }), expected(null));
  assert.deepEqual(await found({}), expected(null));
});

const norm = (name: string, bias: string, x: string, y: string) => {
  return { op: "LayerNormalization", name, inputs: [x, "scale", bias], outputs: [y] };
};

test("normalizations that share a constant are told apart by their own names, or not at all", async () => {
  const path = join(temporary, "norms.onnx");
  const initializers = ["scale", "first.bias"].map((name) => floatTensor(name, [2], [1, 0]));
  const rest = { inputs: { x: ["rows", 2] }, outputs: { y: ["rows", 2] }, initializers, opset: 17 };
  const pathsOf = async (first: string, second: string): Promise<string[]> => {
    const nodes = [norm(first, "first.bias", "x", "z"), norm(second, "first.bias", "z", "y")];
    writeFileSync(path, onnxFile({ ...rest, nodes }));
    const { modules } = await openTaskModel(path);
    return modules.map((module) => `${module.path} ${module.uses.length}`);
  };
  assert.deepEqual(await pathsOf("/first/LayerNormalization", "/other/LayerNormalization"), ["first 1", "other 1"]);
  assert.deepEqual(await pathsOf("/first/LayerNormalization", "/first_1/LayerNormalization"), ["first 2"]);
  assert.deepEqual(await pathsOf("n1", "n2"), []);
});

test("a constant that is added is a bias only if it is named as one", async () => {
  const path = join(temporary, "sum.onnx");
  const rest = { inputs: { x: ["rows", 2, 4, 4] }, outputs: { y: ["rows", 2, 4, 4] }, opset: 17 };
  const pathsOf = async (name: string): Promise<string[]> => {
    const initializers = [floatTensor(name, [2, 1, 1], [1, 2])];
    const nodes = [{ op: "Add", name: "/norm/Add", inputs: ["x", name], outputs: ["y"] }];
    writeFileSync(path, onnxFile({ ...rest, nodes, initializers }));
    return (await openTaskModel(path)).modules.map((module) => module.path);
  };
  assert.deepEqual([await pathsOf("norm.bias"), await pathsOf("onnx::Add_7")], [["norm"], []]);
});

test("a normalization in one operator or in pieces takes a weight where its tensor is known, and else its bias alone", async () => {
  const path = join(temporary, "pieces.onnx");
  const rest = { inputs: { x: ["rows", 2] }, outputs: { y: ["rows", 2] }, opset: 17 };
  const vector = (name: string) => floatTensor(name, [2], [1.5, 0.5]);
  const kindsOf = async (nodes: readonly NodeSpec[], ...names: string[]): Promise<string[]> => {
    writeFileSync(path, onnxFile({ ...rest, nodes, initializers: names.map(vector) }));
    const { modules } = await openTaskModel(path);
    return modules.map(({ path, kind, uses }) => `${kind} ${path}${uses[0]?.target.bias ? "" : " without bias"}`);
  };
  const own = (weight: string, bias: string[]) => {
    return { op: "LayerNormalization", name: "/norm/N", inputs: ["x", weight, ...bias], outputs: ["y"] };
  };
  const product = (weight: string, y: string) => ({
    op: "Mul",
    name: "/norm/Mul",
    inputs: ["x", weight],
    outputs: [y],
  });
  const sum = (bias: string) => ({ op: "Add", name: "/norm/Add", inputs: ["z", bias], outputs: ["y"] });
  const cases: readonly (readonly [readonly NodeSpec[], readonly string[], readonly string[]])[] = [
    [[own("norm.weight", ["norm.bias"])], ["norm.weight", "norm.bias"], ["norm norm"]],
    [[own("norm.weight", [])], ["norm.weight"], ["norm norm without bias"]],
    [[product("norm.weight", "z"), sum("norm.bias")], ["norm.weight", "norm.bias"], ["norm norm"]],
    [[product("norm.weight", "y")], ["norm.weight"], ["norm norm without bias"]],
    [[own("folded", ["norm.bias"])], ["folded", "norm.bias"], ["bias norm"]],
    [[product("folded", "z"), sum("norm.bias")], ["folded", "norm.bias"], ["bias norm"]],
    [[own("norm.weight", ["folded"])], ["norm.weight", "folded"], ["norm norm"]],
    [[product("folded", "y")], ["folded"], []],
    // Something else reads the weight, which an adapter would have to change there too.
    [
      [
        { op: "Relu", inputs: ["norm.weight"], outputs: ["z"] },
        { ...own("norm.weight", ["norm.bias"]), outputs: ["w"] },
        { op: "Sub", inputs: ["z", "w"], outputs: ["y"] },
      ],
      ["norm.weight", "norm.bias"],
      ["bias norm"],
    ],
  ];
  for (const [nodes, names, expected] of cases) assert.deepEqual(await kindsOf(nodes, ...names), expected);
  const batch = { ...own("norm.weight", ["norm.bias", "mean", "variance"]), op: "BatchNormalization" };
  assert.deepEqual(await kindsOf([batch], "norm.weight", "norm.bias", "mean", "variance"), ["bias norm"]);
});

test("a bias that layers share by Identity, or one added further on, makes no second module of a linear layer", async () => {
  const path = join(temporary, "shared-bias.onnx");
  const initializers = [
    floatTensor("first.weight", [2, 2], [1, 2, 3, 4]),
    floatTensor("second.weight", [2, 2], [5, 6, 7, 8]),
    floatTensor("first.bias", [2], [0, 0]),
  ];
  const first = { op: "MatMul", name: "/first/MatMul", inputs: ["x", "first.weight"], outputs: ["a"] };
  const second = { op: "MatMul", name: "/second/MatMul", inputs: ["h", "second.weight"], outputs: ["b"] };
  const repeated = { op: "Identity", inputs: ["first.bias"], outputs: ["second.bias"] };
  const rest = { inputs: { x: [1, 2] }, outputs: { y: [1, 2] }, initializers };
  for (const [between, added, expected] of [
    [[], "b", "second.bias"],
    [[{ op: "Neg", inputs: ["b"], outputs: ["c"] }], "c", null],
  ] as const) {
    const sums = [
      { op: "Add", name: "/first/Add", inputs: ["first.bias", "a"], outputs: ["h"] },
      { op: "Add", name: "/second/Add", inputs: ["second.bias", added], outputs: ["y"] },
    ];
    writeFileSync(
      path,
      onnxFile({ ...rest, nodes: [repeated, first, ...sums.slice(0, 1), second, ...between, ...sums.slice(1)] }),
    );
    const { modules } = await openTaskModel(path);
    const found = modules.map(({ path: name, kind, uses }) => {
      const bias = uses[0]?.target.bias;
      return [name, kind, bias?.add?.inputs[bias.input ?? -1]?.name ?? null];
    });
    assert.deepEqual(found, [
      ["first", "linear", "first.bias"],
      ["second", "linear", expected],
    ]);
  }
});

test("a bias that an exporter stored once for several layers gives none of them another's name", async () => {
  const path = join(temporary, "one-bias.onnx");
  const initializers = [
    floatTensor("first.weight", [2, 2], [1, 2, 3, 4]),
    floatTensor("second.weight", [2, 2], [5, 6, 7, 8]),
    floatTensor("first.bias", [2], [0, 0]),
  ];
  const gemm = (name: string, x: string, y: string) => {
    return { op: "Gemm", inputs: [x, `${name}.weight`, "first.bias"], outputs: [y] };
  };
  const nodes = [gemm("first", "x", "h"), gemm("second", "h", "y")];
  writeFileSync(path, onnxFile({ inputs: { x: [1, 2] }, outputs: { y: [1, 2] }, initializers, nodes }));
  const { modules } = await openTaskModel(path);
  assert.deepEqual(
    ["first", "second"].map((name) => modulesAt(modules, name).map((module) => module.path)),
    [["first"], ["second"]],
  );
});

test("an encoder-decoder without its checkpoint still keeps encoder and decoder apart", async () => {
  const folder = join(temporary, "translation");
  cpSync(join(taskRoot, "marian", "onnx"), folder, { recursive: true });
  const { modules, files } = await openTaskModel(folder);
  assert.deepEqual(
    files.map(({ label }) => label),
    ["encoder_model.onnx", "decoder_model_merged.onnx"],
  );
  assert.ok(checkKeys(modules, keysOf("marian")) > 0);
});

test("paths of transformers 5 find modules that a file names as transformers 4 did, and the other way round", async () => {
  const { modules } = await openTaskModel(join(taskRoot, "yolos"));
  for (const [current, old] of [
    ["vit.layers.0.attention.q_proj", "vit.encoder.layer.0.attention.attention.query"],
    ["vit.layers.1.attention.o_proj", "vit.encoder.layer.1.attention.output.dense"],
    ["vit.layers.1.mlp.fc1", "vit.encoder.layer.1.intermediate.dense"],
    ["vit.layers.0.mlp.fc2", "vit.encoder.layer.0.output.dense"],
  ] as const) {
    assert.deepEqual(modulesAt(modules, current), modulesAt(modules, old));
    assert.equal(modulesAt(modules, current).length, 1, current);
  }
  const renamed = modules.map((module) => ({
    ...module,
    names: [{ by: "scope" as const, path: "layers.0.self_attn.o_proj" }],
  }));
  assert.equal(modulesAt(renamed.slice(0, 1), "model.encoder.layers.0.self_attn.out_proj").length, 1);
  assert.deepEqual(modulesAt(modules, "vit.layers.7.attention.q_proj"), []);
});

test("a convolution whose bias is a node of its own may hold a folded normalization, and is found by its node's name", async () => {
  const weights = floatTensor("w", [2, 3, 1, 1], [1, 2, 3, 4, 5, 6]);
  const bias = floatTensor("b", [1, 2, 1, 1], [1, 2]);
  const conv = { op: "Conv", name: "p2o.Conv.0", inputs: ["x", "w"], outputs: ["c"] };
  const path = join(temporary, "paddle.onnx");
  const rest = { inputs: { x: [1, 3, 4, 4] }, outputs: { y: [1, 2, 4, 4] }, initializers: [weights, bias] };
  for (const [reader, kind] of [
    [{ op: "Add", inputs: ["c", "b"], outputs: ["y"] }, "unknown"],
    [{ op: "Relu", inputs: ["c"], outputs: ["y"] }, "none"],
  ] as const) {
    writeFileSync(path, onnxFile({ ...rest, nodes: [conv, reader] }));
    const { modules } = await openTaskModel(path);
    assert.deepEqual(
      modulesAt(modules, "p2o.Conv.0").map((module) => module.foldedNorm.kind),
      [kind],
    );
  }
});

test("numbered calls of a layer with copies of its weight are one module, and a layer of other numbers is not", async () => {
  const path = join(temporary, "calls.onnx");
  for (const [second, expected] of [
    [[1, 2, 3, 4], [["layer.query", 2]]],
    [
      [1, 2, 3, 5],
      [
        ["layer.query", 1],
        ["layer.query_1", 1],
      ],
    ],
  ] as const) {
    const initializers = [
      floatTensor("onnx::MatMul_7", [2, 2], [1, 2, 3, 4]),
      floatTensor("onnx::MatMul_9", [2, 2], second),
    ];
    const nodes = [
      { op: "MatMul", name: "/layer/query/MatMul", inputs: ["x", "onnx::MatMul_7"], outputs: ["h"] },
      { op: "MatMul", name: "/layer/query_1/MatMul", inputs: ["h", "onnx::MatMul_9"], outputs: ["y"] },
    ];
    writeFileSync(path, onnxFile({ inputs: { x: [1, 2] }, outputs: { y: [1, 2] }, initializers, nodes }));
    const { modules } = await openTaskModel(path);
    assert.deepEqual(
      modules.map((module) => [module.path, module.uses.length]),
      expected,
    );
  }
});

test("a table that encoder and decoder share is a module of each, where names tell the lookups apart", async () => {
  const path = join(temporary, "tied.onnx");
  const table = floatTensor("model.shared.weight", [3, 2], [1, 2, 3, 4, 5, 6]);
  const lookup = (name: string, ids: string) => ({
    op: "Gather",
    name,
    inputs: [table.name, ids],
    outputs: [`e_${ids}`],
  });
  for (const [names, expected] of [
    [
      ["/model/encoder/embed_tokens/Gather", "/model/decoder/embed_tokens/Gather"],
      ["model.encoder.embed_tokens", "model.decoder.embed_tokens"],
    ],
    [["n1", "n2"], ["model.shared"]],
  ] as const) {
    const nodes = [
      lookup(names[0], "a"),
      lookup(names[1], "b"),
      { op: "Transpose", name: "turn", inputs: [table.name], outputs: ["turned"] },
      { op: "Add", name: "sum", inputs: ["e_a", "e_b"], outputs: ["x"] },
      { op: "MatMul", name: "head", inputs: ["x", "turned"], outputs: ["y"] },
    ];
    const inputs = { a: [1], b: [1] };
    writeFileSync(
      path,
      onnxFile({ inputs, types: { a: 7, b: 7 }, outputs: { y: [1, 3] }, initializers: [table], nodes }),
    );
    const { modules } = await openTaskModel(path);
    assert.deepEqual(
      modules.map((module) => module.path),
      [...expected, "lm_head"],
    );
  }
});

test("a file that chooses branches by many inputs is refused, for each of them doubles the graphs", async () => {
  const flags = ["a", "b", "c"];
  const branch = graphOf({ inputs: {}, outputs: { o: [2] }, nodes: [{ op: "Relu", inputs: ["x"], outputs: ["o"] }] });
  const attributes = { then_branch: branch, else_branch: branch };
  const path = join(temporary, "flags.onnx");
  const file = onnxFile({
    inputs: { x: [2], a: [], b: [], c: [] },
    types: { a: 9, b: 9, c: 9 },
    outputs: { y_a: [2], y_b: [2], y_c: [2] },
    nodes: flags.map((flag) => ({ op: "If", inputs: [flag], outputs: [`y_${flag}`], attributes })),
  });
  writeFileSync(path, file);
  await assert.rejects(openTaskModel(path), /chooses branches by 3 inputs \(a, b, c, ...\); at most 2 are allowed/);
});
