/** The engine on WebGPU: the same tokens as on the CPU, all of it in the card's memory, and none of it left behind. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { loadAdapter } from "../../src/adapter/format.js";
import type { AdapterSource, HostAdapter } from "../../src/adapter/types.js";
import type { LorikeetError } from "../../src/base/errors.js";
import { at } from "../../src/base/list.js";
import { startEngine } from "../../src/engine/start.js";
import { greedy } from "../../src/engine/types.js";
import { GraphBuilder } from "../../src/graph/builder.js";
import { serializeGraph } from "../../src/graph/serialize.js";
import { openCheckpoint } from "../../src/model/checkpoint/open.js";
import { targetModules } from "../../src/model/modules.js";
import { ort } from "../../src/runtime/api.js";
import { cpu } from "../../src/runtime/device/cpu.js";
import type { Device } from "../../src/runtime/device/device.js";
import { openWebgpu } from "../../src/runtime/device/webgpu.js";
import { Session } from "../../src/runtime/session.js";
import { Tensor } from "../../src/runtime/tensor.js";
import { openTestWebgpu, webgpu } from "../support/device.js";
import { read } from "../support/engine-rig.js";
import { adapterFolder, adapterNames, oracleRoot, readExpected } from "../support/oracle.js";

const { skip } = webgpu;
const folder = join(oracleRoot, "llama");

/** `scale`: of the adapters' B. */
async function started(device: Device, { scale = 1 }: { readonly scale?: number } = {}) {
  const checkpoint = await openCheckpoint(folder);
  const adapters = new Map<string, HostAdapter>();
  for (const name of adapterNames("llama")) {
    const adapter = await loadAdapter(adapterFolder("llama", name), targetModules(checkpoint.config), {});
    const modules = [...adapter.modules].map(
      ([path, module]) => [path, { ...module, scale: module.scale * scale }] as const,
    );
    adapters.set(adapter.digest, { ...adapter, modules: new Map(modules) });
  }
  const source: AdapterSource = {
    prefetch: () => {},
    acquire: async (digest) => {
      const adapter = adapters.get(digest);
      assert.ok(adapter);
      return { adapter, from: "host", loadMs: 0, release: () => {} };
    },
  };
  const options = {
    maxBatch: 4,
    maxContext: 56,
    maxQueue: 8,
    maxStallMs: 1000,
    activeAdapterBytes: 1 << 24,
    exact: false,
  };
  const start = { checkpoint, device, dtype: "fp32", threads: 1, adapters: source, ...options } as const;
  return { ...(await startEngine(start)), digests: [null, ...adapters.keys()] };
}

/** Greedy tokens of the base and every adapter, all at once, the prompt longer than a card's chunk. */
async function answers(device: Device): Promise<readonly number[][]> {
  const { engine, digests, selfTest } = await started(device);
  assert.equal(selfTest.replaysEqual, device.kind === "cpu" ? null : true, "replayed kernels are trusted after a test");
  const { inputIds } = await readExpected(folder);
  const promptIds = [...inputIds, ...inputIds.slice(0, 12)];
  const request = { promptIds, maxTokens: 12, sampling: greedy, stopIds: [], promptLogprobs: null };
  const outcomes = await Promise.all(digests.map((adapter) => read(engine.submit({ ...request, adapter }))));
  await engine.close();
  return outcomes.map(({ tokens }) => [...tokens]);
}

test("the engine on WebGPU gives the CPU's tokens, and leaves no memory behind", { skip }, async () => {
  const device = await openTestWebgpu();
  const before = device.allocatedBytes;
  const found = await answers(device);
  const expected = await answers(cpu);
  assert.ok(new Set(expected.map(String)).size > 2, "adapters change the answer");
  for (const [i, tokens] of expected.entries()) assert.deepEqual(at(found, i), tokens);
  assert.equal(device.allocatedBytes, before);
  await device.turn(async () => device[Symbol.dispose]());
});

test("captured steps over adapters whose memory was replaced are released, once", { skip }, async () => {
  const device = await openTestWebgpu();
  const { engine, digests } = await started(device);
  const released: string[] = [];
  ort().faultOf = (name) => {
    if (name === "SessionReleaseCapturedGraph") released.push(name);
    return null;
  };
  const request = { promptIds: [5, 6, 7, 8], maxTokens: 4, sampling: greedy, stopIds: [], promptLogprobs: null };
  const [, adapter = null] = digests;
  await read(engine.submit({ ...request, adapter }));
  const first = released.length;
  assert.ok(first > 0, "the self-test's adapters are gone");
  await read(engine.submit({ ...request, adapter }));
  await read(engine.submit({ ...request, adapter: null }));
  assert.equal(released.length, first);
  ort().faultOf = null;
  await engine.close();
  assert.equal(device.allocatedBytes, 0);
  device[Symbol.dispose]();
});

test("a start that fails leaves no memory behind, wherever it fails", { skip }, async () => {
  const device = await openTestWebgpu();
  const before = device.allocatedBytes;
  const calls = new Map<string, number>();
  ort().faultOf = (name) => {
    calls.set(name, (calls.get(name) ?? 0) + 1);
    return null;
  };
  await (await started(device)).engine.close();
  assert.equal(device.allocatedBytes, before);
  const steps = ["CreateTensorAsOrtValue", "CreateIoBinding", "RunWithBinding", "CopyTensors"] as const;
  for (const step of steps) {
    let left = Math.ceil((calls.get(step) ?? 0) / 2);
    assert.ok(left > 0, step);
    ort().faultOf = (name) => (name === step && --left === 0 ? "no more" : null);
    await assert.rejects(started(device), { code: "runtime_failed" }, step);
    assert.equal(device.allocatedBytes, before, step);
  }
  ort().faultOf = null;
  await (await started(device)).engine.close();
  device[Symbol.dispose]();
});

test("an adapter whose products overflow on WebGPU ends its own row with adapter_invalid", { skip }, async () => {
  const device = await openTestWebgpu();
  const { engine, digests } = await started(device, { scale: 1e38 });
  const { inputIds } = await readExpected(folder);
  const request = {
    promptIds: inputIds.slice(0, 8),
    maxTokens: 6,
    sampling: greedy,
    stopIds: [],
    promptLogprobs: null,
  };
  const [base, adapted] = await Promise.all(
    digests.slice(0, 2).map((adapter) => read(engine.submit({ ...request, adapter }))),
  );
  assert.equal(base?.tokens.length, 6);
  assert.equal((adapted?.finish.error as LorikeetError | null)?.code, "adapter_invalid");
  await engine.close();
});

test("an engine that does not fit into the card's memory is refused before it loads", { skip }, async () => {
  const device = await openWebgpu({ name: "a small card", software: true, memoryBytes: 1 << 20 });
  await assert.rejects(started(device), { code: "device_memory", allowed: 1 << 20 });
  assert.equal(device.allocatedBytes, 0);
  await device.turn(async () => {
    assert.throws(() => device.allocate("float32", [1 << 20]), { code: "device_memory" });
    const rows = device.rows(2);
    assert.throws(() => rows.add("a", "float32", [1 << 19]), { code: "device_memory" });
    device[Symbol.dispose]();
  });
});

test("memory that a driver grants and does not have is refused", { skip }, async () => {
  const device = await openWebgpu({ name: "a card without a known size", software: true, memoryBytes: null });
  await device.turn(async () => {
    assert.throws(() => device.allocate("float32", [1 << 30, 64]), { code: "device_memory" });
    const small = device.allocate("float32", [4]);
    await device.upload([[Tensor.from("float32", [4], Float32Array.of(1, 2, 3, 4)), small]]);
    const found = Tensor.zeros("float32", [4]);
    await device.download(small, found);
    assert.deepEqual([...found.data], [1, 2, 3, 4], "nothing is broken afterwards");
    small[Symbol.dispose]();
    device[Symbol.dispose]();
  });
});

test("a graph with a node that WebGPU has no kernel for is refused, not run on the CPU", { skip }, async () => {
  const device = await openTestWebgpu();
  const builder = new GraphBuilder("fallback");
  const x = builder.input("x", "float32", ["n"]);
  const scale = builder.input("scale", "float32", []);
  for (const value of builder.node("QuantizeLinear", [x, scale], [{ type: "uint8", shape: ["n"], name: "y" }])) {
    builder.output(value);
  }
  const graph = serializeGraph(builder.build());
  await device.turn(async () => {
    await assert.rejects(Session.create(graph, { threads: 1, device }), /fallback to CPU/);
  });
});
