/** Batches of rows with different adapters, and without one, against what PEFT computes with each. */

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { openTaskModel } from "../../../src/model/task/open.js";
import { adapterRows, adaptGraph, stackNames } from "../../../src/model/task/serving-graph.js";
import { modulesAt, type TaskModule } from "../../../src/model/task/target-modules.js";
import { Tensor } from "../../../src/runtime/tensor.js";
import { SafetensorsFile } from "../../../src/tensor/safetensors.js";
import { onnxFilesOf, readExpectedTensors, runGraph, taskRoot } from "../../support/task-models.js";

const tolerance = 2e-5;
const models = ["bert-sequence-classification", "bert-embeddings", "yolos", "policy-mlp"];

interface Factors {
  readonly rank: number;
  readonly scale: number;
  /** [rank, in] */
  readonly a: Float32Array;
  /** [out, rank] */
  readonly b: Float32Array;
}

interface Adapter {
  readonly modules: ReadonlyMap<TaskModule, Factors>;
  readonly expected: ReadonlyMap<string, Tensor>;
}

/** Reads a PEFT folder by hand: rank patterns show in the shapes, alpha patterns match the end of a path. */
async function readAdapter(model: string, name: string, targets: readonly TaskModule[]): Promise<Adapter> {
  const folder = join(taskRoot, model, "adapters", name);
  const config = JSON.parse(readFileSync(join(folder, "adapter_config.json"), "utf8"));
  await using file = await SafetensorsFile.open(join(folder, "adapter_model.safetensors"));
  const modules = new Map<TaskModule, Factors>();
  for (const [key, { shape }] of file.tensors) {
    if (!key.endsWith(".lora_A.weight")) continue;
    const path = key.replace(/^base_model\.model\./, "").replace(/\.lora_A\.weight$/, "");
    const [target, ...others] = modulesAt(targets, path);
    assert.ok(target && others.length === 0, path);
    const rank = shape[0] as number;
    const [, alpha] = Object.entries(config.alpha_pattern).find(([end]) => path.endsWith(`.${end}`)) ?? [];
    const scale = Number(alpha ?? config.lora_alpha) / (config.use_rslora ? Math.sqrt(rank) : rank);
    const b = await file.readFloat32(key.replace("lora_A", "lora_B"));
    modules.set(target, { rank, scale, a: await file.readFloat32(key), b });
  }
  return { modules, expected: await readExpectedTensors(`${model}/adapters/${name}`) };
}

/** A and B of every adapter, place 0 left at zero. */
function stacksOf(module: TaskModule, rank: number, adapters: readonly Adapter[]): [string, Tensor][] {
  const { inFeatures, outFeatures, path } = module;
  const a = Tensor.zeros("float32", [adapters.length + 1, inFeatures, rank]);
  const b = Tensor.zeros("float32", [adapters.length + 1, rank, outFeatures]);
  for (const [index, { modules }] of adapters.entries()) {
    const factors = modules.get(module);
    if (!factors) continue;
    for (let k = 0; k < factors.rank; k++) {
      const [atA, atB] = [(index + 1) * inFeatures * rank + k, ((index + 1) * rank + k) * outFeatures];
      for (let i = 0; i < inFeatures; i++) a.data[atA + i * rank] = factors.a[k * inFeatures + i] as number;
      for (let o = 0; o < outFeatures; o++)
        b.data[atB + o] = factors.scale * (factors.b[o * factors.rank + k] as number);
    }
  }
  const names = stackNames(path);
  return [
    [names.a, a],
    [names.b, b],
  ];
}

const rowOf = (tensor: Tensor, row: number): Float32Array => {
  const length = tensor.data.length / (tensor.shape[0] as number);
  return (tensor.data as Float32Array).subarray(row * length, (row + 1) * length);
};

for (const model of models) {
  for (const path of onnxFilesOf(model)) {
    test(`rows with different adapters each give PEFT's outputs in ${path.slice(taskRoot.length + 1)}`, async () => {
      const { opened, modules } = await openTaskModel(path);
      const names = readdirSync(join(taskRoot, model, "adapters")).sort();
      const adapters = await Promise.all(names.map((name) => readAdapter(model, name, modules)));
      const base = await readExpectedTensors(model);
      const given = new Map(base);
      const used = modules.filter((module) => adapters.some((adapter) => adapter.modules.has(module)));
      const adapted = used.flatMap((module) => {
        const rank = Math.max(...adapters.map((adapter) => adapter.modules.get(module)?.rank ?? 0));
        for (const [name, stack] of stacksOf(module, rank, adapters)) given.set(name, stack);
        return module.uses.map(({ target }) => ({ path: module.path, target, rank }));
      });
      const graph = adaptGraph(opened[0]?.graphs[0]?.graph ?? assert.fail(), adapted);
      const run = (rows: readonly number[]) => {
        const places = Tensor.from("int64", [rows.length], BigInt64Array.from(rows, BigInt));
        return runGraph(graph, new Map([...given, [adapterRows, places]]));
      };
      const alike = await Promise.all([0, ...adapters.keys()].map((_, place) => run([place, place, place, place])));
      for (let turn = 0; turn <= adapters.length; turn++) {
        const rows = [0, 1, 2, 3].map((row) => (row + turn) % (adapters.length + 1));
        const outputs = await run(rows);
        for (const [name, output] of outputs) {
          for (const [row, place] of rows.entries()) {
            const wanted = (place === 0 ? base : adapters[place - 1]?.expected)?.get(name) ?? assert.fail(name);
            const largest = Math.max(...(wanted.data as Float32Array).map(Math.abs));
            const found = rowOf(output, row);
            const error = Math.max(...rowOf(wanted, row).map((value, i) => Math.abs(value - (found[i] as number))));
            assert.ok(error <= tolerance * largest, `${name} row ${row} with adapter ${place}: ${error / largest}`);
            const same = rowOf(alike[place]?.get(name) ?? assert.fail(), row);
            assert.deepEqual(found, same, `${name} row ${row} has the same bits in a batch of its adapter alone`);
          }
        }
      }
    });
  }
}
