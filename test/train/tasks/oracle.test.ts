/** Trainings of task models: losses, norms, first gradients and weights after ten steps as PyTorch and PEFT compute them. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { dimProduct } from "../../../src/graph/shape.js";
import type { Graph } from "../../../src/graph/types.js";
import { taskTargetsOf } from "../../../src/model/task/adapter-targets.js";
import { isEncoderDecoder } from "../../../src/model/task/encoder-decoder.js";
import { joinGraphs } from "../../../src/model/task/joined-graph.js";
import { openTaskModel } from "../../../src/model/task/open.js";
import { trainedTensors } from "../../../src/model/task/trained-modules.js";
import { Tensor } from "../../../src/runtime/tensor.js";
import { SafetensorsFile } from "../../../src/tensor/safetensors.js";
import {
  addDecayedWeights,
  chain,
  clipByGlobalNorm,
  globalNorm,
  scaleByAdam,
  scaleByRate,
} from "../../../src/train/optimizer/optimizer.js";
import { crossEntropy, lossInputs } from "../../../src/train/tasks/losses.js";
import { actionValues } from "../../../src/train/tasks/objectives/actions.js";
import { classification, labelFeeds } from "../../../src/train/tasks/objectives/classification.js";
import { embeddings } from "../../../src/train/tasks/objectives/embeddings.js";
import { translation } from "../../../src/train/tasks/objectives/translation.js";
import { startValues, weightOf } from "../../../src/train/tasks/start-values.js";
import { openTaskAdapter } from "../../../src/train/tasks/task-adapter.js";
import { TaskStep } from "../../../src/train/tasks/task-step.js";
import type { TaskObjective } from "../../../src/train/tasks/types.js";
import { onlyWhenLong } from "../../support/long.js";
import { taskRoot } from "../../support/task-models.js";

interface Case {
  readonly goal: Goal;
  readonly model: string;
  readonly file: string;
  readonly run: string;
  readonly isLong?: boolean;
}

type Stored = ReadonlyMap<
  string,
  { readonly shape: readonly number[]; readonly dtype: string; readonly data: number[] }
>;

/** All tensors of a file as numbers. Pixels are bytes u: the model sees u / 127.5 - 1. */
async function read(path: string): Promise<Stored> {
  await using file = await SafetensorsFile.open(path);
  const found = new Map<string, { shape: readonly number[]; dtype: string; data: number[] }>();
  for (const [name, { dtype, shape }] of file.tensors) {
    const { buffer, byteOffset, byteLength } = await file.read(name);
    const bytes = buffer.slice(byteOffset, byteOffset + byteLength);
    const data =
      dtype === "I64"
        ? [...new BigInt64Array(bytes)].map(Number)
        : dtype === "F64"
          ? [...new Float64Array(bytes)]
          : dtype === "U8"
            ? [...new Uint8Array(bytes)].map((byte) => Math.fround(Math.fround(byte / 127.5) - 1))
            : [...new Float32Array(bytes)];
    found.set(name, { shape, dtype, data });
  }
  return found;
}

/** A step's part of a tensor [steps, ...]. */
function partOf(stored: Stored, name: string, step: number): Tensor | null {
  const found = stored.get(name);
  if (!found) return null;
  const { shape, dtype, data } = found;
  const size = data.length / (shape[0] ?? 1);
  const part = data.slice(step * size, (step + 1) * size);
  return dtype === "I64"
    ? Tensor.from("int64", shape.slice(1), BigInt64Array.from(part, BigInt))
    : Tensor.from("float32", shape.slice(1), Float32Array.from(part));
}

/** What a model is trained on: the objective of `train`, and its targets of a step. */
interface Goal {
  readonly objective: TaskObjective<unknown>;
  targets(batches: Stored, step: number): readonly unknown[];
  /** Inputs of the model that the batches do not have by their own names. */
  inputs?(batches: Stored, step: number): ReadonlyMap<string, Tensor>;
}

const numbers = (batches: Stored, name: string, step: number): number[] =>
  Array.from(partOf(batches, name, step)?.data ?? [], Number);

const labelled: Goal = {
  objective: classification(["0", "1", "2", "3", "4"], "logits"),
  targets: (batches, step) => numbers(batches, "labels", step).map(String),
};

/** Anchors, then positives: one batch. */
const paired: Goal = {
  objective: embeddings({ output: "last_hidden_state", pooling: "mean", candidates: 1 }),
  targets: (batches, step) => Array.from({ length: partOf(batches, "input_ids", step)?.shape[0] ?? 0 }, () => null),
  inputs(batches, step) {
    const both = (name: string): Tensor => {
      const [first, second] = [name, `positive_${name}`].map((each) => partOf(batches, each, step));
      assert.ok(first && second);
      const [rows = 0, length = 0] = first.shape;
      const data = BigInt64Array.from([...first.data, ...second.data], BigInt);
      return Tensor.from("int64", [2 * rows, length], data);
    };
    const ids = both("input_ids");
    return new Map([
      ["input_ids", ids],
      ["attention_mask", both("attention_mask")],
      ["token_type_ids", Tensor.zeros("int64", ids.shape)],
    ]);
  },
};

const valued: Goal = {
  objective: actionValues("q_values"),
  targets(batches, step) {
    const targets = numbers(batches, "targets", step);
    return numbers(batches, "actions", step).map((action, row) => ({ action, target: targets[row] }));
  },
};

/** -100 behind the end of a target. */
const translated: Goal = {
  objective: translation(),
  targets(batches, step) {
    const labels = numbers(batches, "labels", step);
    return Array.from({ length: 6 }, (_, row) => labels.slice(16 * row, 16 * (row + 1)).filter((id) => id !== -100));
  },
};

/** Queries have classes and boxes already: 3 is no object. */
const assigned: Goal = {
  objective: {
    outputs: ["logits", "pred_boxes"],
    loss(op, outputs) {
      const [logits, boxes] = [outputs.get("logits"), outputs.get("pred_boxes")];
      assert.ok(logits && boxes);
      const [targets, weights] = [lossInputs.targets, lossInputs.targetWeights].map((name) =>
        op.builder.input(name, "float32", boxes.shape),
      );
      assert.ok(targets && weights);
      const errors = op.mul(op.unary("Abs", op.sub(boxes, targets)), weights);
      return op.add(crossEntropy(op, logits), op.sum(op.reshape(errors, [dimProduct(errors.shape)]), [0], false));
    },
    count: () => 1,
    async feeds(targets) {
      const [{ labels, boxes }] = targets as [{ labels: number[]; boxes: number[] }];
      const count = labels.filter((label) => label !== 3).length;
      const shape = [4, 6, 4];
      const weights = boxes.map((_, i) => (labels[Math.floor(i / 4)] === 3 ? 0 : 5 / (4 * count)));
      return new Map<string, Tensor>([
        ...labelFeeds(labels, labels.length, 1 / labels.length),
        [lossInputs.targets, Tensor.from("float32", shape, Float32Array.from(boxes))],
        [lossInputs.targetWeights, Tensor.from("float32", shape, Float32Array.from(weights))],
      ]);
    },
    meter: () => assert.fail("not measured"),
  },
  targets: (batches, step) => [{ labels: numbers(batches, "labels", step), boxes: numbers(batches, "boxes", step) }],
};

async function feedsOf({ objective, targets, inputs }: Goal, graph: Graph, batches: Stored, step: number) {
  const feeds = new Map<string, Tensor>(inputs?.(batches, step));
  for (const { name } of graph.inputs) {
    const tensor = feeds.has(name) ? null : partOf(batches, name, step);
    if (tensor) feeds.set(name, tensor);
  }
  const all = targets(batches, step);
  const total = all.reduce<number>((sum, target) => sum + objective.count(target), 0);
  const predict = async () => assert.fail("these targets depend on no prediction");
  return new Map([...feeds, ...(await objective.feeds(all, all.length, 1 / total, { inputs: feeds, predict }))]);
}

const worst = (found: Iterable<number>, expected: readonly number[]): number => {
  const most = expected.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  let error = 0;
  let i = 0;
  for (const value of found) error = Math.max(error, Math.abs(value - (expected[i++] ?? Number.NaN)));
  return error / most;
};

async function train({ goal, model: name, file, run }: Case): Promise<void> {
  const folder = join(taskRoot, name);
  const model = await openTaskModel(file === "" ? folder : join(folder, "onnx", file));
  const whole = model.opened[0]?.graphs[0]?.graph ?? assert.fail("no graph");
  const { graph, modules } = isEncoderDecoder(model) ? joinGraphs(model) : { graph: whole, modules: model.modules };
  const start = await openTaskAdapter(join(folder, run, "initial"), modules, taskTargetsOf(modules));
  const batches = new Map([
    ...(await read(join(folder, "train", "batches.safetensors"))),
    ...(await read(join(folder, run, "batches.safetensors"))),
  ]);
  const gradients = await read(join(folder, run, "first-gradients.safetensors"));
  const after = await read(join(folder, run, "after-10-steps.safetensors"));
  const { objective } = goal;
  using step = new TaskStep({
    graph: { ...graph, outputs: graph.outputs.filter((output) => objective.outputs.includes(output.name)) },
    targets: start.targets,
    initializers: [],
    loss: objective.loss,
    threads: 1,
  });
  await start.readInto(step.parameters);
  const initial = step.values.slice();
  const optimizer = chain(
    step.values.length,
    clipByGlobalNorm(1),
    scaleByAdam(),
    addDecayedWeights(0.01),
    scaleByRate(() => 0.01),
  );
  const storedOf = (stored: Stored, key: string) =>
    stored.get(`base_model.model.${key}`) ?? stored.get(`base_model.model.${key}.weight`) ?? assert.fail(key);
  for (let i = 0; i < 10; i++) {
    const loss = await step.run(await feedsOf(goal, graph, batches, i));
    const expected = batches.get("losses")?.data[i] ?? Number.NaN;
    assert.ok(Math.abs(loss - expected) <= 2e-5 * Math.abs(expected), `loss ${i}: ${loss}, not ${expected}`);
    const norm = globalNorm(step.gradients);
    const expectedNorm = batches.get("gradient_norms")?.data[i] ?? Number.NaN;
    assert.ok(Math.abs(norm - expectedNorm) <= 1e-4 * expectedNorm, `norm ${i}: ${norm}, not ${expectedNorm}`);
    if (i === 0) {
      for (const { name: key, gradient } of step.parameters) {
        const { data } = storedOf(gradients, key);
        if (data.every((value) => Math.abs(value) < 1e-7)) continue; // no direction to compare
        assert.ok(worst(gradient, data) <= 5e-5, `gradient of ${key}: ${worst(gradient, data)}`);
      }
    }
    optimizer.step(step.values, step.gradients, i);
  }
  let [difference, length] = [0, 0];
  for (const { name: key, data, offset } of step.parameters) {
    for (const [i, value] of storedOf(after, key).data.entries()) {
      difference += (value - (data[i] ?? Number.NaN)) ** 2;
      length += (value - (initial[offset + i] ?? Number.NaN)) ** 2;
    }
  }
  assert.ok(Math.sqrt(difference / length) <= 2e-4, `after ten steps: ${Math.sqrt(difference / length)}`);
}

const bert = "bert-sequence-classification";
const cases: readonly Case[] = [
  { goal: labelled, model: bert, file: "model.onnx", run: "train" },
  { goal: labelled, model: bert, file: "model.onnx", run: "train-dora", isLong: true },
  { goal: labelled, model: bert, file: "model_dynamo.onnx", run: "train", isLong: true },
  { goal: paired, model: "bert-embeddings", file: "model.onnx", run: "train", isLong: true },
  { goal: labelled, model: "resnet", file: "model.onnx", run: "train", isLong: true },
  { goal: labelled, model: "resnet", file: "model.onnx", run: "train-dora" },
  { goal: labelled, model: "efficientnet", file: "model.onnx", run: "train" },
  { goal: valued, model: "policy-mlp", file: "model.onnx", run: "train" },
  { goal: assigned, model: "yolos", file: "model.onnx", run: "train", isLong: true },
  { goal: translated, model: "marian", file: "", run: "train" },
];

for (const each of cases) {
  const name = `${each.run} of ${each.model} over ${each.file || "both files"} is PyTorch's, step for step`;
  test(name, each.isLong ? onlyWhenLong : {}, () => train(each));
}

test("a head starts with the base's values, and a fresh one of the same size at random", async () => {
  const { modules } = await openTaskModel(join(taskRoot, bert));
  const module = modules.find(({ path }) => path === "classifier") ?? assert.fail("no head");
  const outFeatures = module.outFeatures;
  const own = await weightOf(module);
  for (const isFresh of [false, true]) {
    const target = { module, form: { kind: "whole", outFeatures, hasBias: true, isFresh } } as const;
    const parameters = trainedTensors(target).map(({ name, shape }) => {
      const count = shape.reduce((a, b) => a * b, 1);
      return { name, shape, offset: 0, data: new Float32Array(count), gradient: new Float32Array(count) };
    });
    await startValues([target], parameters, 1);
    const weight = parameters.find(({ name }) => name === "classifier.weight") ?? assert.fail("no weight");
    assert.equal(Buffer.compare(Buffer.from(weight.data.buffer), Buffer.from(own.slice().buffer)) === 0, !isFresh);
    assert.ok(weight.data.some((value) => value !== 0));
  }
});
