/** A device that is lost ends every sequence, once and with one error; a run that fails on a device that works ends only its own. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import { LorikeetError } from "../../src/base/errors.js";
import { startEngine } from "../../src/engine/start.js";
import { greedy } from "../../src/engine/types.js";
import { openCheckpoint } from "../../src/model/checkpoint/open.js";
import { ort } from "../../src/runtime/api.js";
import { cpu } from "../../src/runtime/device/cpu.js";
import type { Device } from "../../src/runtime/device/device.js";
import { openTestWebgpu, webgpu } from "../support/device.js";
import { engineRig, read, settle, until } from "../support/engine-rig.js";
import { oracleRoot } from "../support/oracle.js";

afterEach(() => {
  ort().faultOf = null;
});

const lost = new LorikeetError("device_lost", "The device was lost.");

test("a lost device ends sequences that decode, read their prompts, wait or load, and refuses new ones", async () => {
  let lose = (_: LorikeetError): void => {};
  const device: Pick<Device, "onLost"> = {
    onLost: (listener) => {
      lose = listener;
      return () => {};
    },
  };
  await using rig = engineRig({ maxBatch: 3, maxContext: 200, prefillRate: 34, parts: { device } });
  rig.source.add("a", 5);
  const gate = rig.source.hold("a");
  const short = { promptIds: [1, 2, 3], maxTokens: 90 };
  const sequences = [
    rig.submit(short),
    rig.submit({ ...short, adapter: "a" }),
    rig.submit({ promptIds: Array.from({ length: 100 }, (_, i) => i % 60), maxTokens: 90 }),
    ...[1, 2, 3].map(() => rig.submit(short)),
  ];
  const outcomes = sequences.map((sequence) => read(sequence));
  await until(() => rig.engine.stats().slots.prefilling > 0 && rig.engine.stats().waiting > 0, "all phases are there");
  lose(lost);
  for (const { finish } of await Promise.all(outcomes)) {
    assert.equal(finish.reason, "error");
    assert.equal(finish.error, lost);
  }
  assert.throws(() => rig.submit(short), { code: "device_lost" });
  gate.resolve();
  await settle();
});

async function started(device: Device) {
  const checkpoint = await openCheckpoint(join(oracleRoot, "llama"));
  const options = { maxBatch: 2, maxContext: 56, maxQueue: 8, maxStallMs: 1000, activeAdapterBytes: 0, exact: false };
  return await startEngine({ checkpoint, device, dtype: "fp32", threads: 1, adapters: null, ...options });
}

const request = {
  promptIds: [5, 6, 7, 8],
  maxTokens: 30,
  sampling: greedy,
  stopIds: [],
  adapter: null,
  promptLogprobs: null,
};

const devices: readonly (readonly [string, () => Promise<Device>, string | false])[] = [
  ["cpu", async () => cpu, false],
  ["webgpu", openTestWebgpu, webgpu.skip],
];

for (const [name, open, skip] of devices) {
  test(`${name}: a run that fails ends its sequence, and the next one runs`, { skip }, async () => {
    const { engine } = await started(await open());
    const whole = await read(engine.submit(request));
    let runs = 3;
    ort().faultOf = (call) => (call === "RunWithBinding" && --runs === 0 ? "a kernel failed" : null);
    const failed = await read(engine.submit(request));
    assert.equal((failed.finish.error as LorikeetError).code, "runtime_failed");
    assert.deepEqual((await read(engine.submit(request))).tokens, whole.tokens);
    await engine.close();
  });
}

test("webgpu: when nothing works any more the loss is told once, streams end with it, and closing does not hang", {
  skip: webgpu.skip,
}, async () => {
  const device = await openTestWebgpu();
  const { engine } = await started(device);
  const told: LorikeetError[] = [];
  device.onLost((error) => told.push(error));
  const outcomes = [1, 2, 3].map((id) =>
    read(engine.submit({ ...request, promptIds: [id, 6, 7, 8] }), ({ type }) => {
      if (type === "token") ort().faultOf = (call) => (/^(RunWithBinding|CopyTensors)$/.test(call) ? "lost" : null);
    }),
  );
  for (const { finish } of await Promise.all(outcomes)) {
    assert.equal(finish.reason, "error");
    assert.equal((finish.error as LorikeetError).code, "device_lost");
  }
  assert.deepEqual(
    told.map(({ code }) => code),
    ["device_lost"],
  );
  assert.throws(() => engine.submit(request), { code: "device_lost" });
  await assert.rejects(
    device.turn(async () => {}),
    { code: "device_lost" },
  );
  let later = 0;
  device.onLost(() => later++);
  assert.equal(later, 1, "who asks later is told at once");
  await engine.close();
});
