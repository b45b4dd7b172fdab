/** Trainings of task models: losses, norms, first gradients and weights after ten steps as PyTorch and PEFT compute them. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import type { Ops } from "../../../src/graph/ops.js";
import type { Graph, Value } from "../../../src/graph/types.js";
import { taskTargetsOf } from "../../../src/model/task/adapter-targets.js";
import { openTaskModel } from "../../../src/model/task/open.js";
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
import { crossEntropy } from "../../../src/train/tasks/losses.js";
import { openTaskAdapter } from "../../../src/train/tasks/task-adapter.js";
import { type TaskLoss, TaskStep } from "../../../src/train/tasks/task-step.js";
import { taskRoot } from "../../support/task-models.js";

interface Case {
  readonly model: string;
  readonly file: string;
  readonly run: string;
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

const classification: TaskLoss = (op: Ops, outputs: ReadonlyMap<string, Value>) =>
  crossEntropy(op, outputs.get("logits") ?? assert.fail("logits"));

function feedsOf(graph: Graph, batches: Stored, step: number): Map<string, Tensor> {
  const feeds = new Map<string, Tensor>();
  for (const { name } of graph.inputs) {
    const tensor = partOf(batches, name, step);
    if (tensor) feeds.set(name, tensor);
  }
  const labels = partOf(batches, "labels", step);
  if (labels) {
    const count = labels.data.length;
    feeds.set("loss.labels", labels.as([count, 1]));
    feeds.set("loss.weights", Tensor.from("float32", [count, 1], new Float32Array(count).fill(1 / count)));
  }
  return feeds;
}

const worst = (found: Iterable<number>, expected: readonly number[]): number => {
  const most = expected.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  let error = 0;
  let i = 0;
  for (const value of found) error = Math.max(error, Math.abs(value - (expected[i++] ?? Number.NaN)));
  return error / most;
};

async function train({ model: name, file, run }: Case): Promise<void> {
  const folder = join(taskRoot, name);
  const model = await openTaskModel(join(folder, "onnx", file));
  const { graph } = model.opened[0]?.graphs[0] ?? assert.fail("no graph");
  const start = await openTaskAdapter(join(folder, run, "initial"), model.modules, taskTargetsOf(model.modules));
  const batches = new Map([
    ...(await read(join(folder, "train", "batches.safetensors"))),
    ...(await read(join(folder, run, "batches.safetensors"))),
  ]);
  const gradients = await read(join(folder, run, "first-gradients.safetensors"));
  const after = await read(join(folder, run, "after-10-steps.safetensors"));
  using step = new TaskStep({ graph, targets: start.targets, initializers: [], loss: classification, threads: 1 });
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
    const loss = await step.run(feedsOf(graph, batches, i));
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

const cases: readonly Case[] = [
  { model: "bert-sequence-classification", file: "model.onnx", run: "train" },
  { model: "bert-sequence-classification", file: "model.onnx", run: "train-dora" },
  { model: "resnet", file: "model.onnx", run: "train" },
  { model: "resnet", file: "model.onnx", run: "train-dora" },
  { model: "efficientnet", file: "model.onnx", run: "train" },
];

for (const each of cases) {
  test(`${each.run} of ${each.model} over ${each.file} is PyTorch's, step for step`, () => train(each));
}
