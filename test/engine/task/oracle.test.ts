/**
 * Rows with different adapters, and without one, through the task engine: each gives what PEFT computes with its adapter, with the same
 * bits among others as alone.
 */

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { test } from "node:test";
import { loadTaskAdapter } from "../../../src/adapter/format.js";
import type { HostTaskAdapter } from "../../../src/adapter/types.js";
import { probeModel, startTaskEngine } from "../../../src/engine/task/start.js";
import type { TaskEngine, TaskTensor } from "../../../src/engine/task/types.js";
import { taskTargetsOf } from "../../../src/model/task/adapter-targets.js";
import { openTaskModel } from "../../../src/model/task/open.js";
import type { Tensor } from "../../../src/runtime/tensor.js";
import { skipOnDevice, testDevice } from "../../support/device.js";
import { onnxFilesOf, readExpectedTensors, taskModels, taskRoot } from "../../support/task-models.js";

/** As a share of the largest number. Cards add up in another order, and round functions in their own way. */
const tolerance = testDevice.kind === "cpu" ? 2e-5 : 2e-4;
const rows = [0, 1, 2, 3];

const rowOf = ({ type, shape, data }: Tensor, row: number): TaskTensor => {
  const size = data.length / (shape[0] as number);
  return { type, shape: [1, ...shape.slice(1)], data: data.slice(row * size, (row + 1) * size) };
};

/** Runs rows together: each with the adapter of its index, counted from 1; 0 is the base. */
async function run(
  engine: TaskEngine,
  inputs: ReadonlyMap<string, Tensor>,
  adapters: readonly HostTaskAdapter[],
  chosen: readonly (readonly [row: number, adapter: number])[],
): Promise<ReadonlyMap<string, TaskTensor>[]> {
  const jobs = chosen.map(([row, adapter]) => {
    const names = engine.signature.inputs.map(({ name }) => name);
    const tensors = new Map(names.map((name) => [name, rowOf(inputs.get(name) ?? assert.fail(name), row)]));
    return engine.submit({ inputs: tensors, adapter: adapters[adapter - 1]?.digest ?? null });
  });
  return (await Promise.all(jobs.map(({ result }) => result))).map(({ outputs }) => outputs);
}

async function startWith(path: string, names: readonly string[]) {
  const model = await openTaskModel(path);
  const folder = join(dirname(dirname(path)), "adapters");
  const targets = taskTargetsOf(model.modules);
  const adapters: HostTaskAdapter[] = [];
  for (const name of names) adapters.push(await loadTaskAdapter(join(folder, name), targets));
  const source = {
    prefetch: () => {},
    acquire: async (digest: string) => {
      const adapter = adapters.find((other) => other.digest === digest) ?? assert.fail(digest);
      return { adapter, from: "host" as const, loadMs: 0, release: () => {} };
    },
  };
  const limits = { threads: 1, maxBatch: 8, maxQueue: 64, activeAdapterBytes: 2 ** 26 };
  const probe = await probeModel(model, { threads: 1, imageSize: null });
  const started = await startTaskEngine({ ...limits, model, device: testDevice, adapters: source }, probe);
  return { ...started, adapters };
}

for (const model of taskModels.filter((name) => name !== "marian")) {
  const names = readdirSync(join(taskRoot, model, "adapters")).sort();
  for (const path of onnxFilesOf(model)) {
    const promise = `${names.join(", ")} and the base give PEFT's outputs in one batch of ${model}/${basename(path)}`;
    test(promise, { skip: skipOnDevice }, async (context) => {
      let most = 0;
      const { engine, adapters, probe, rowsIndependent } = await startWith(path, names);
      assert.equal(probe.reason, null);
      if (testDevice.kind === "cpu") assert.equal(rowsIndependent, true);
      const base = await readExpectedTensors(model);
      const expected = [base];
      for (const name of names) expected.push(await readExpectedTensors(join(model, "adapters", name)));
      // The stacks have grown to what all of them need.
      await run(
        engine,
        base,
        adapters,
        names.map((_, index) => [0, index + 1] as const),
      );
      for (let turn = 0; turn <= names.length; turn++) {
        const chosen = rows.map((row) => [row, (row + turn) % (names.length + 1)] as const);
        const together = await run(engine, base, adapters, chosen);
        for (const [index, choice] of chosen.entries()) {
          const [row, adapter] = choice;
          const [alone] = turn === 0 ? await run(engine, base, adapters, [choice]) : [together[index]];
          for (const [name, { shape, data }] of together[index] ?? []) {
            const all = expected[adapter]?.get(name) ?? assert.fail(name);
            const wanted = rowOf(all, row);
            assert.deepEqual(shape, wanted.shape);
            const largest = Math.max(...(all.data as Float32Array).map(Math.abs));
            const error = Math.max(
              ...(wanted.data as Float32Array).map((value, i) => Math.abs(value - Number(data[i]))),
            );
            most = Math.max(most, error / largest);
            assert.ok(
              error <= tolerance * largest,
              `${name} of row ${row} with ${names[adapter - 1]}: ${error / largest}`,
            );
            if (!rowsIndependent) continue;
            assert.deepEqual(data, alone?.get(name)?.data, `${name} of row ${row} has the same bits alone`);
          }
        }
      }
      if (testDevice.kind !== "cpu")
        context.diagnostic(
          `${model}/${basename(path)}: ${most} of the largest number, rows ${rowsIndependent ? "" : "not "}independent`,
        );
      await engine.close();
    });
  }
}
