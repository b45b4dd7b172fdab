/** Adapters merged into task models compute what PEFT computes with them, and `eval` judges both alike. */

import assert from "node:assert/strict";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { greedy } from "../../../src/engine/types.js";
import { GraphBuilder } from "../../../src/graph/builder.js";
import type { Node, Value } from "../../../src/graph/types.js";
import { findBiasModules } from "../../../src/model/task/bias-modules.js";
import { withWeights } from "../../../src/model/task/rewritten.js";
import { findTaskModules, type TaskGraph } from "../../../src/model/task/target-modules.js";
import { untieWeights } from "../../../src/model/task/untied.js";
import { Tensor } from "../../../src/runtime/tensor.js";
import { onlyWhenLong } from "../../support/long.js";
import { runHere } from "../../support/program.js";
import {
  openGraph,
  readExpectedTensors,
  relativeError,
  runGraph,
  taskModels,
  taskRoot,
} from "../../support/task-models.js";
import { startTranslation, translationAdapters, translationModel } from "../../support/translation-model.js";

const folder = mkdtempSync(join(tmpdir(), "lorikeet-merge-task-"));
after(() => rmSync(folder, { recursive: true }));

/** A head of another size, DoRA, convolutions with folded normalizations and with groups are among these. */
const always: readonly string[] = ["bert-sequence-classification", "efficientnet"];

for (const model of taskModels.filter((name) => name !== "marian")) {
  test(`merged adapters of ${model} give PEFT's outputs`, always.includes(model) ? {} : onlyWhenLong, async () => {
    const base = join(taskRoot, model);
    const inputs = await readExpectedTensors(model);
    for (const name of readdirSync(join(base, "adapters"))) {
      const out = join(folder, model, name);
      const adapter = join(base, "adapters", name);
      const { code, err } = await runHere(["merge", "--model", base, "--adapter", adapter, "--output-dir", out]);
      if (model === "efficientnet" && name === "all-r4-rslora") {
        assert.match(
          err,
          /conv_dw cannot be merged: its adapter's A reads all channels, so their product fits no convolution with 8 groups, .*; leave it out of --target-modules/,
        );
        continue;
      }
      assert.equal(code, 0, err);
      const found = await runGraph(await openGraph(join(out, "onnx", "model.onnx")), inputs);
      const expected = await readExpectedTensors(join(model, "adapters", name));
      for (const [output, { data }] of expected) {
        if (!found.has(output)) continue;
        const error = relativeError(found.get(output), data as Float32Array);
        assert.ok(error <= 2e-5, `${name} ${output}: ${error}`);
      }
    }
  });
}

test("eval measures a base, an adapter and a merged model by the task's metrics", async () => {
  const base = join(taskRoot, "bert-sequence-classification");
  const adapter = join(base, "adapters", "dora");
  const merged = join(folder, "bert-sequence-classification", "dora");
  const data = join(folder, "rows.jsonl");
  const texts: { text: string }[] = JSON.parse(readFileSync(join(base, "texts.json"), "utf8"));
  const labels = ["positive", "negative", "neutral"];
  const rows = texts.map(({ text }, i) => JSON.stringify({ text, label: labels[i % 3] }));
  writeFileSync(data, `${rows.join("\n")}\n`);
  const judge = async (...more: string[]) => {
    const { code, out, err } = await runHere(["eval", "--data", data, "--json", ...more]);
    assert.equal(code, 0, err);
    return JSON.parse(out);
  };
  const [plain, adapted, whole] = [
    await judge("--model", base),
    await judge("--model", base, "--adapter", adapter),
    await judge("--model", merged),
  ];
  assert.deepEqual([plain.task, plain.rows], ["text-classification", texts.length]);
  assert.notEqual(adapted.loss, plain.loss);
  assert.ok(Math.abs(adapted.loss - whole.loss) < 1e-5 * adapted.loss);
  assert.deepEqual(adapted.metrics, whole.metrics);
  const refused = await runHere(["eval", "--data", data, "--model", base, "--details", "x.jsonl"]);
  assert.match(refused.err, /--details is for decoders; the model is a task model\./);
});

test("a merge replaces no trained adapter and no checkpoints of a run", async () => {
  const base = join(taskRoot, "bert-sequence-classification");
  const merge = (out: string) =>
    runHere([
      "merge",
      "--model",
      base,
      "--adapter",
      join(base, "adapters", "dora"),
      "--output-dir",
      out,
      "--overwrite",
    ]);
  for (const kept of ["adapter_config.json", "checkpoints"]) {
    const out = join(folder, "made", kept);
    mkdirSync(join(out, kept), { recursive: true });
    writeFileSync(join(out, "lorikeet.json"), "{}");
    const { code, err } = await merge(out);
    assert.deepEqual(
      [code, err.includes(`holds an adapter or the checkpoints of a run (it has ${kept})`)],
      [1, true],
      err,
    );
    assert.deepEqual(readdirSync(out).sort(), [kept, "lorikeet.json"].sort());
  }
});

test("a merged model has the adapter's labels, also where lorikeet.json of the base names others", async () => {
  const from = join(taskRoot, "bert-sequence-classification");
  const [base, adapter, out] = ["named", "named-adapter", "named-merged"].map((name) => join(folder, name));
  assert.ok(base && adapter && out);
  cpSync(from, base, { recursive: true, filter: (source) => !source.endsWith("adapters") });
  cpSync(join(from, "adapters", "dora"), adapter, { recursive: true });
  writeFileSync(join(base, "lorikeet.json"), JSON.stringify({ labels: ["x", "y", "z"], pooling: "cls" }));
  writeFileSync(join(adapter, "labels.json"), JSON.stringify(["a", "b", "c"]));
  const { code, err } = await runHere(["merge", "--model", base, "--adapter", adapter, "--output-dir", out]);
  assert.equal(code, 0, err);
  const { labels, pooling } = JSON.parse(readFileSync(join(out, "lorikeet.json"), "utf8"));
  assert.deepEqual([labels, pooling], [["a", "b", "c"], "cls"]);
});

for (const name of translationAdapters) {
  const isAlways = name === "all-r4-rslora";
  test(`a translator with ${name} merged gives PEFT's tokens and logits`, isAlways ? {} : onlyWhenLong, async () => {
    const out = join(folder, "marian", name);
    const adapter = join(translationModel, "adapters", name);
    const merge = ["merge", "--model", translationModel, "--adapter", adapter, "--output-dir", out];
    const { code, err } = await runHere(merge);
    assert.equal(code, 0, err);
    assert.deepEqual(readdirSync(join(out, "onnx")).sort(), [
      "decoder_model.onnx",
      "decoder_with_past_model.onnx",
      "encoder_model.onnx",
      "weights.onnx_data",
    ]);
    const [base, expected] = [
      await readExpectedTensors("marian"),
      await readExpectedTensors(join("marian", "adapters", name)),
    ];
    const rows = 4;
    const rowOf = (tensor: Tensor | undefined, row: number): number[] => {
      const size = (tensor?.data.length ?? 0) / rows;
      return Array.from(tensor?.data.subarray(row * size, (row + 1) * size) ?? [], Number);
    };
    const vocabulary = expected.get("logits")?.shape[2] ?? assert.fail();
    const { engine } = await startTranslation(out, { maxBatch: 1 });
    try {
      for (let row = 0; row < rows; row++) {
        const mask = rowOf(base.get("attention_mask"), row);
        const promptIds = rowOf(base.get("input_ids"), row).filter((_, i) => mask[i] === 1);
        const logits = rowOf(expected.get("logits"), row);
        const largest = Math.max(...logits.map(Math.abs));
        const sampling = { ...greedy, logprobs: vocabulary };
        const request = { promptIds, maxTokens: 16, sampling, stopIds: [], adapter: null, promptLogprobs: null };
        const ids: number[] = [];
        for await (const event of engine.submit(request)) {
          if (event.type !== "token") continue;
          const wanted = logits.slice(ids.length * vocabulary, (ids.length + 1) * vocabulary);
          const total = Math.log(wanted.reduce((sum, logit) => sum + Math.exp(logit), 0));
          const top = event.logprob?.top ?? [];
          assert.equal(top.length, vocabulary);
          for (const { id, logprob } of top) {
            const error = Math.abs(logprob - ((wanted[id] ?? Number.NaN) - total)) / largest;
            assert.ok(error <= 2e-5, `row ${row}, token ${ids.length}: ${error}`);
          }
          ids.push(event.id);
        }
        assert.deepEqual(ids, rowOf(expected.get("greedy_ids"), row).slice(1));
      }
    } finally {
      await engine.close();
    }
  });
}

test("a table that is the head too is split where only one of them changes", async () => {
  const [rows, size] = [3, 2];
  const builder = new GraphBuilder("tied");
  const bytes = new Uint8Array(Float32Array.of(1, 2, 3, 4, 5, 6).buffer);
  const table = builder.initializer("shared.weight", "float32", [rows, size], { kind: "inline", bytes });
  const ids = builder.input("ids", "int64", [1]);
  const value = (name: string, shape: number[]) => ({ type: "float32" as const, shape, name });
  const [x] = builder.node("Gather", [table, ids], [value("x", [1, size])]);
  const [turned] = builder.node("Transpose", [table], [value("turned", [size, rows])], {
    perm: { kind: "ints", value: [1, 0] },
  });
  assert.ok(x && turned);
  const [y] = builder.node("MatMul", [x, turned], [value("y", [1, rows])]);
  builder.output(y ?? assert.fail());
  const tied: TaskGraph = { role: "whole", label: "tied", graph: builder.build() };
  const modules = await findTaskModules([tied], null);
  assert.deepEqual(
    modules.map(({ kind, path }) => [kind, path]),
    [
      ["table", "shared"],
      ["linear", "lm_head"],
    ],
  );
  const weight = { shape: [rows, size], data: Float32Array.of(10, 20, 30, 40, 50, 60) };
  const cases = [
    { kinds: ["table"], expected: [110, 250, 390], weights: 2 },
    { kinds: ["linear"], expected: [110, 250, 390], weights: 2 },
    { kinds: ["table", "linear"], expected: [1100, 2500, 3900], weights: 1 },
  ];
  for (const { kinds, expected, weights } of cases) {
    const changes = modules
      .filter(({ kind }) => kinds.includes(kind))
      .flatMap(({ path, uses }) => uses.map(({ target }) => ({ path, target, weight, bias: null })));
    const untied = untieWeights(tied.graph, modules, changes);
    const written = withWeights(untied.graph, untied.weights, untied.modules);
    assert.equal(written.initializers.length, weights, kinds.join());
    const found = await runGraph(written, new Map([["ids", Tensor.from("int64", [1], BigInt64Array.of(1n))]]));
    assert.deepEqual(Array.from(found.get("y")?.data as Float32Array), expected, kinds.join());
    const again = await findTaskModules([{ ...tied, graph: written }], null);
    assert.deepEqual(again.map(({ kind }) => kind).sort(), ["linear", "table"]);
  }
});

test("a normalization in pieces gets a weight of its own along its channels where others share the constant", async () => {
  const x = Tensor.from("float32", [1, 2, 1, 2], Float32Array.of(1, 2, 3, 4));
  const value = (name: string, shape: number[]) => ({ type: "float32" as const, shape, name });
  for (const sharesView of [false, true]) {
    const builder = new GraphBuilder("norms");
    const bytes = new Uint8Array(Float32Array.of(1, 1).buffer);
    const weight = builder.initializer("first.weight", "float32", [2], { kind: "inline", bytes });
    const axes = builder.constant("int64", [2], [1, 2]);
    const viewed = (vector: Value, name: string): Value =>
      builder.node("Unsqueeze", [vector, axes], [value(name, [2, 1, 1])])[0] ?? assert.fail();
    const view = viewed(weight, "view");
    const aliases = sharesView ? [] : builder.node("Identity", [weight], [value("second.weight", [2])]);
    const other = aliases[0] ? viewed(aliases[0], "other") : view;
    const input = builder.input("x", "float32", x.shape);
    const [z] = builder.node("Mul", [input, view], [value("z", [...x.shape])]);
    const [y] = builder.node("Mul", [z ?? input, other], [value("y", [...x.shape])]);
    builder.output(y ?? assert.fail());
    const built = builder.build();
    const nameOf = ({ outputs }: Node): string => ({ z: "/first/Mul", y: "/second/Mul" })[outputs[0]?.name ?? ""] ?? "";
    const nodes = built.nodes.map((node) => ({ ...node, name: nameOf(node) }));
    const graph: TaskGraph = { role: "whole", label: "norms", graph: { ...built, nodes } };
    const modules = await findBiasModules([graph], [], null);
    const [path, left] = sharesView ? ["first", []] : ["second", ["first"]];
    assert.deepEqual(
      modules.map((module) => `${module.kind} ${module.path}`).sort(),
      [...left, path].map((name) => `norm ${name}`),
    );
    const changes = modules
      .filter((module) => module.path === path)
      .flatMap(({ uses }) =>
        uses.map(({ target }) => ({
          path,
          target,
          weight: { shape: [2], data: Float32Array.of(10, 100) },
          bias: null,
        })),
      );
    const untied = untieWeights(graph.graph, modules, changes);
    const found = await runGraph(withWeights(untied.graph, untied.weights, untied.modules), new Map([["x", x]]));
    assert.deepEqual(Array.from(found.get("y")?.data as Float32Array), [10, 20, 300, 400], path);
  }
});
