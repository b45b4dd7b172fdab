/** The task engine's queue, endings and leases, over a policy whose adapters load when the test lets them. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { loadTaskAdapter } from "../../../src/adapter/format.js";
import type { AdapterLease, HostTaskAdapter, HostTaskModule } from "../../../src/adapter/types.js";
import { type Deferred, deferred } from "../../../src/base/async.js";
import { LorikeetError } from "../../../src/base/errors.js";
import { at } from "../../../src/base/list.js";
import { TaskBank } from "../../../src/engine/task/bank.js";
import { BatchingEngine } from "../../../src/engine/task/engine.js";
import type { TaskRunner } from "../../../src/engine/task/runner.js";
import { probeModel, startTaskEngine } from "../../../src/engine/task/start.js";
import type { TaskJob, TaskTensor } from "../../../src/engine/task/types.js";
import { taskTargetsOf } from "../../../src/model/task/adapter-targets.js";
import { openTaskModel } from "../../../src/model/task/open.js";
import { taskRoot } from "../../support/task-models.js";

const model = await openTaskModel(join(taskRoot, "policy-mlp"));
const folder = join(taskRoot, "policy-mlp", "adapters", "all-r4-rslora");
const adapter = await loadTaskAdapter(folder, taskTargetsOf(model.modules));
const probe = await probeModel(model, { threads: 1, imageSize: null });

const observation = (value: number): ReadonlyMap<string, TaskTensor> =>
  new Map([["observation", { type: "float32", shape: [1, 4], data: Float32Array.of(value, 0, 0, 0) }]]);

const codeOf = (job: TaskJob): Promise<string> =>
  job.result.then(
    () => "done",
    (error: unknown) => (error instanceof LorikeetError ? error.code : String(error)),
  );

/** An engine whose adapters load when `load` resolves, with its leases counted. */
async function rig(limits: { maxQueue?: number; maxAdapterQueue?: number; activeAdapterBytes?: number } = {}) {
  const loads: Deferred<HostTaskAdapter>[] = [];
  const leases = new Set<object>();
  const adapters = {
    prefetch: () => {},
    acquire: async (): Promise<AdapterLease<HostTaskAdapter>> => {
      const load = deferred<HostTaskAdapter>();
      loads.push(load);
      const loaded = await load.promise;
      const lease = { adapter: loaded, from: "disk" as const, loadMs: 1, release: () => void leases.delete(lease) };
      leases.add(lease);
      return lease;
    },
  };
  const options = { model, adapters, threads: 1, maxBatch: 4, maxQueue: 8, activeAdapterBytes: 2 ** 20, ...limits };
  const { engine } = await startTaskEngine(options, probe);
  return { engine, loads, leases };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("a request of the base is not held up by an adapter that loads", async () => {
  const { engine, loads, leases } = await rig();
  const slow = engine.submit({ inputs: observation(1), adapter: adapter.digest });
  const fast = engine.submit({ inputs: observation(1), adapter: null });
  assert.equal(await codeOf(fast), "done");
  assert.deepEqual(engine.stats().waitingAdapters, [adapter.digest]);
  loads[0]?.resolve(adapter);
  const [own, base] = [await slow.result, await fast.result];
  assert.notDeepEqual(own.outputs.get("q_values")?.data, base.outputs.get("q_values")?.data);
  assert.deepEqual([leases.size, engine.stats().running, engine.stats().waiting], [0, 0, 0]);
  assert.deepEqual(engine.stats().activeAdapters, [adapter.digest]);
  engine.check();
  await engine.close();
});

test("an adapter that cannot be loaded fails its request, and the next one tries again", async () => {
  const { engine, loads, leases } = await rig();
  const first = engine.submit({ inputs: observation(1), adapter: adapter.digest });
  await turn();
  loads[0]?.reject(new LorikeetError("adapter_not_found", "It is gone."));
  assert.equal(await codeOf(first), "adapter_not_found");
  const second = engine.submit({ inputs: observation(1), adapter: adapter.digest });
  await turn();
  loads[1]?.resolve(adapter);
  assert.equal(await codeOf(second), "done");
  assert.equal(leases.size, 0);
  await engine.close();
});

test("an adapter that no place is large enough for is refused", async () => {
  const { engine, loads, leases } = await rig({ activeAdapterBytes: 64 });
  const job = engine.submit({ inputs: observation(1), adapter: adapter.digest });
  await turn();
  loads[0]?.resolve(adapter);
  await assert.rejects(job.result, /In use, this adapter takes \d+ bytes, more than the 64/);
  assert.equal(leases.size, 0);
  await engine.close();
});

/** The adapter's products on some modules, with zeros up to a rank. */
function widened(digest: string, paths: readonly string[], rank: number): HostTaskAdapter {
  const widen = (values: Float32Array | null, own: number) => new Float32Array(((values?.length ?? 0) / own) * rank);
  const modules = [...adapter.modules].flatMap(([path, host]): [string, HostTaskModule][] =>
    paths.includes(path) ? [[path, { ...host, rank, a: widen(host.a, host.rank), b: widen(host.b, host.rank) }]] : [],
  );
  return { ...adapter, digest, rank, modules: new Map(modules) };
}

test("adapters that fit only one by one are served in turn, in any order and within the memory for them", async () => {
  const pair = ["net.0", "net.2"];
  const adapters = [widened("first", ["net.0"], 64), widened("second", ["net.2"], 32), widened("small", pair, 4)];
  const { engine, loads } = await rig({ activeAdapterBytes: 12_000 });
  for (const order of [
    [0, 1, 2],
    [2, 1, 0],
    [0, 0, 1],
    [2, 2, 2],
  ]) {
    const before = loads.length;
    const wanted = order.map((index) => at(adapters, index));
    const jobs = wanted.map(({ digest }) => engine.submit({ inputs: observation(1), adapter: digest }));
    for (let count = before; count < before + jobs.length; count++) {
      while (loads.length <= count) await turn();
      at(loads, count).resolve(at(wanted, count - before));
    }
    assert.deepEqual(await Promise.all(jobs.map(codeOf)), ["done", "done", "done"]);
    // The base's place comes on top.
    assert.ok(engine.stats().activeAdapterBytes <= 2 * 12_000);
  }
  engine.check();
  await engine.close();
});

test("a request that is cancelled while its adapter loads returns the lease", async () => {
  const { engine, loads, leases } = await rig();
  const controller = new AbortController();
  const job = engine.submit({ inputs: observation(1), adapter: adapter.digest, signal: controller.signal });
  await turn();
  controller.abort();
  assert.equal(await codeOf(job), "cancelled");
  loads[0]?.resolve(adapter);
  assert.equal(await codeOf(engine.submit({ inputs: observation(1), adapter: null })), "done");
  assert.equal(leases.size, 0);
  engine.check();
  await engine.close();
});

test("a full queue refuses, and lets an adapter with fewer waiting requests in", async () => {
  const { engine, loads } = await rig({ maxQueue: 4, maxAdapterQueue: 4 });
  // One loads, four have room in the next run, and four wait.
  const first = engine.submit({ inputs: observation(0), adapter: adapter.digest });
  await turn();
  const waiting = Array.from({ length: 8 }, (_, i) =>
    engine.submit({ inputs: observation(i), adapter: adapter.digest }),
  );
  assert.throws(
    () => engine.submit({ inputs: observation(9), adapter: adapter.digest }),
    (error) => error instanceof LorikeetError && error.code === "queue_full",
  );
  const other = engine.submit({ inputs: observation(1), adapter: null });
  assert.equal(await codeOf(waiting[7] as TaskJob), "queue_full", "the newest of the longest queue gives way");
  assert.equal(await codeOf(other), "done");
  for (let served = 0; served < 8; served++) {
    while (loads.length <= served) await turn();
    loads[served]?.resolve(adapter);
  }
  const codes = await Promise.all([first, ...waiting.slice(0, 7)].map(codeOf));
  assert.deepEqual(codes, Array(8).fill("done"));
  engine.check();
  await engine.close();
});

test("an adapter's own limit leaves room for others", async () => {
  const { engine } = await rig({ maxQueue: 8, maxAdapterQueue: 1 });
  engine.submit({ inputs: observation(0), adapter: adapter.digest });
  await turn();
  for (let i = 0; i < 5; i++) engine.submit({ inputs: observation(i), adapter: adapter.digest });
  assert.throws(
    () => engine.submit({ inputs: observation(9), adapter: adapter.digest }),
    (error) => error instanceof LorikeetError && error.code === "adapter_queue_full",
  );
  await engine.close();
});

test("closing ends what waits, and draining waits for what runs", async () => {
  const { engine, loads } = await rig();
  const job = engine.submit({ inputs: observation(1), adapter: adapter.digest });
  await turn();
  const drained = engine.drain(10_000);
  assert.throws(() => engine.submit({ inputs: observation(1), adapter: null }), /shutting down/);
  loads[0]?.resolve(adapter);
  assert.equal(await codeOf(job), "done");
  await drained;
  const { engine: second } = await rig();
  const never = second.submit({ inputs: observation(1), adapter: adapter.digest });
  await turn();
  await second.close();
  assert.equal(await codeOf(never), "draining");
});

test("inputs that a node refuses end with its name, without ONNX Runtime's own text", async () => {
  const bert = await openTaskModel(join(taskRoot, "bert-sequence-classification"));
  const limits = { threads: 1, maxBatch: 1, maxQueue: 8, activeAdapterBytes: 2 ** 20 };
  const bertProbe = await probeModel(bert, { threads: 1, imageSize: null });
  const { engine } = await startTaskEngine({ model: bert, adapters: null, ...limits }, bertProbe);
  const tensor = (): TaskTensor => ({ type: "int64", shape: [1, 600], data: new BigInt64Array(600).fill(1n) });
  const inputs = new Map(engine.signature.inputs.map(({ name }) => [name, tensor()]));
  await assert.rejects(engine.submit({ inputs, adapter: null }).result, (error) => {
    assert.ok(error instanceof LorikeetError && error.code === "invalid_value");
    assert.match(
      error.message,
      /^The model cannot compute these inputs: the \w+ node "[^"]+" of its graph refuses them\.$/,
    );
    return true;
  });
  await engine.close();
});

test("a run is stopped when nobody waits for any of its rows, and not before", async () => {
  const runs: { readonly signal: AbortSignal; readonly begun: number }[] = [];
  const runner = {
    run: (rows: readonly unknown[], _: null, signal: AbortSignal) => {
      runs.push({ signal, begun: rows.length });
      return new Promise((_resolve, reject) => {
        signal.addEventListener("abort", () => reject(new LorikeetError("cancelled", "The run was stopped.")));
      });
    },
  };
  const engine = new BatchingEngine({
    ...{ runner: runner as unknown as TaskRunner, bank: new TaskBank({ modules: [], maxPlaces: 2, maxBytes: 1 }) },
    ...{ adapters: null, signature: { inputs: [], outputs: [], isBatched: true } },
    ...{ limits: { maxBatch: 2, maxQueue: 8, maxAdapterQueue: 8 }, widthsOf: () => new Map() },
  });
  const leaving = [new AbortController(), new AbortController()];
  const jobs = leaving.map(({ signal }) => engine.submit({ inputs: observation(1), adapter: null, signal }));
  await Promise.all(jobs.map(({ admitted }) => admitted));
  await turn();
  leaving[0]?.abort();
  assert.deepEqual([runs.length, runs[0]?.begun, runs[0]?.signal.aborted], [1, 2, false]);
  leaving[1]?.abort();
  assert.equal(runs[0]?.signal.aborted, true);
  assert.deepEqual(await Promise.all(jobs.map(codeOf)), ["cancelled", "cancelled"]);
  await engine.close();
});

test("the longer texts are, the fewer rows share a run", async () => {
  const runs: number[] = [];
  const runner = {
    run: async (rows: readonly unknown[]) => {
      runs.push(rows.length);
      return rows.map(() => new Map());
    },
  };
  const engine = new BatchingEngine({
    ...{ runner: runner as unknown as TaskRunner, bank: new TaskBank({ modules: [], maxPlaces: 2, maxBytes: 1 }) },
    ...{ adapters: null, signature: { inputs: [], outputs: [], isBatched: true } },
    ...{ limits: { maxBatch: 16, maxQueue: 16, maxAdapterQueue: 16 }, widthsOf: () => new Map() },
  });
  for (const [length, expected] of [
    [1024, [16]],
    [2048, [4, 4, 4, 4]],
    [8192, new Array(16).fill(1)],
  ] as const) {
    const ids = { type: "int64", shape: [1, length], data: new BigInt64Array(length) } as const;
    const jobs = Array.from({ length: 16 }, () =>
      engine.submit({ inputs: new Map([["input_ids", ids]]), adapter: null }),
    );
    assert.deepEqual(await Promise.all(jobs.map(codeOf)), new Array(16).fill("done"));
    assert.deepEqual(runs.splice(0), expected);
  }
  await engine.close();
});
