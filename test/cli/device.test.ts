/** `--device` on the command line: what is refused and by which exit code, on a machine that looks as if it had no driver. */

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { describeDevice, formatDevice, memoryFor } from "../../src/cli/device.js";
import { chooseHalves, proveHalves, trustAttention } from "../../src/cli/halves.js";
import { usableMemory } from "../../src/cli/machine.js";
import { cpu } from "../../src/runtime/device/cpu.js";
import type { GpuAdapter } from "../../src/runtime/device/vulkan.js";
import { runHere as run } from "../support/program.js";

const root = mkdtempSync(join(tmpdir(), "lorikeet-device-"));
after(() => rmSync(root, { recursive: true }));
process.env.VK_DRIVER_FILES = join(root, "no-driver.json");
process.env.VK_ICD_FILENAMES = process.env.VK_DRIVER_FILES; // the older name

const model = "models/bookworm-7m";
const isVulkan = process.platform === "linux" && process.arch === "x64";
const skip = isVulkan ? false : "Vulkan is asked on Linux";

test("webgpu without a driver is one line and exit code 10, for serve, generate and eval", { skip }, async () => {
  const data = join(root, "rows.jsonl");
  writeFileSync(data, '{"prompt":"a","completion":"b"}\n');
  for (const args of [
    ["serve", "--model", model, "--port", "0", "--log-level", "silent"],
    ["generate", "--model", model, "It was"],
    ["eval", "--model", model, "--data", data],
  ]) {
    const { code, err } = await run([...args, "--device", "webgpu", "--allow-software-gpu"]);
    assert.equal(code, 10, err);
    assert.match(err, /^lorikeet: --device webgpu cannot run here: no graphics card was found .*--device cpu\.\n$/m);
  }
});

test("cuda without its libraries names what to install", { skip }, async () => {
  const { code, err } = await run(["generate", "--model", model, "--device", "cuda", "It was"]);
  assert.equal(code, 10);
  assert.match(
    err,
    /^lorikeet: --device cuda cannot run here: ONNX Runtime's CUDA provider is not installed .*LORIKEET_ONNXRUNTIME_LIBRARY names.* --device webgpu needs the card's driver alone\.$/m,
  );
});

test("the device comes from a flag, the environment or the config file, and a wrong one names all", async () => {
  const config = join(root, "config.yaml");
  writeFileSync(config, "device: gpu\n");
  const generate = ["generate", "--model", model, "It was"];
  for (const [args, environment, where] of [
    [["--device", "gpu"], {}, "--device"],
    [[], { LORIKEET_DEVICE: "gpu" }, "LORIKEET_DEVICE"],
    [["--config", config], {}, '"device" in'],
  ] as const) {
    const { code, err } = await run([...generate, ...args], environment);
    assert.equal(code, 2);
    assert.ok(err.startsWith(`lorikeet: ${where}`), err);
    assert.match(err, /must be one of auto, cpu, webgpu, cuda, not "gpu"/);
  }
});

test("train refuses every other device by name", async () => {
  for (const device of ["webgpu", "cuda"]) {
    const { code, err } = await run(["train", "--model", model, "--device", device]);
    assert.deepEqual([code, err], [2, `lorikeet: --device must be cpu: training runs on the CPU, not "${device}".\n`]);
  }
});

const card: GpuAdapter = {
  name: "Card A",
  type: "discrete",
  driver: "driver 1.0",
  memoryBytes: 24 * 2 ** 30,
  maxStorageBufferBytes: 2 ** 31,
  maxAllocationBytes: 2 ** 31,
  fp16: true,
  subgroupSize: 32,
  lacks: [],
};
const chosen = (adapter: GpuAdapter) => ({ kind: "webgpu", why: "the only card", adapter }) as const;

const nvidia = { name: "Card N", memoryBytes: 80 * 2 ** 30, computeCapability: "9.0", cudaVersion: "13.0" };
const cudaChoice = { kind: "cuda", why: "as requested", card: nvidia } as const;

test("a device is shown with its memory and fp16", () => {
  assert.equal(formatDevice(describeDevice(chosen(card))), "webgpu: Card A, 24 GiB, fp16");
  const started = formatDevice(describeDevice(chosen(card), { longestChunk: 30, kvCacheDtype: "fp16" }));
  assert.equal(started, "webgpu: Card A, 24 GiB, fp16, KV cache in fp16, prompts in chunks of 30");
  const unproven = describeDevice(chosen(card), { fp16: false });
  assert.equal(formatDevice(unproven), "webgpu: Card A, 24 GiB, no fp16", "a probe outweighs what the driver says");
  const llvmpipe = { ...card, name: "llvmpipe", type: "software", memoryBytes: 2 ** 30, fp16: false } as const;
  assert.equal(formatDevice(describeDevice(chosen(llvmpipe))), "webgpu: llvmpipe, a software driver, 1 GiB, no fp16");
  assert.equal(formatDevice(describeDevice(cudaChoice)), "cuda: Card N, 80 GiB, fp16");
  assert.equal(describeDevice(cudaChoice).driver, "CUDA 13.0, compute capability 9.0");
  assert.equal(formatDevice(describeDevice({ kind: "cpu", why: "as requested" })), "cpu");
});

test("fp16 is taken where a card computes in it, by default for the cache of quantized models", () => {
  const half = chosen(card);
  const whole = chosen({ ...card, fp16: false });
  const onCpu = { kind: "cpu", why: "as requested" } as const;
  const auto = { kvCacheDtype: "auto", activationDtype: "auto" } as const;
  const [none, cached] = [
    { cacheType: "float32", activationType: "float32" },
    { cacheType: "float16", activationType: "float32" },
  ];
  const all = { cacheType: "float16", activationType: "float16" };
  assert.deepEqual(chooseHalves(auto, half, "int4"), cached);
  assert.deepEqual(chooseHalves(auto, half, "fp32"), none, "fp32 models keep PyTorch's numbers");
  assert.deepEqual(chooseHalves(auto, half, "fp16"), all);
  assert.deepEqual(chooseHalves({ ...auto, kvCacheDtype: "fp16" }, half, "fp32"), cached);
  assert.deepEqual(chooseHalves({ ...auto, activationDtype: "fp16" }, half, "int8"), all);
  assert.deepEqual(chooseHalves({ kvCacheDtype: "fp32", activationDtype: "fp32" }, half, "fp16"), none);
  for (const choice of [whole, onCpu]) {
    assert.deepEqual(chooseHalves(auto, choice, "int4"), none);
    const name = choice === whole ? "Card A" : "the CPU";
    const refusal = (flag: string) =>
      new RegExp(`^--${flag} fp16 takes a graphics card that computes in fp16; ${name} does not.$`);
    assert.throws(() => chooseHalves({ ...auto, kvCacheDtype: "fp16" }, choice, "int4"), {
      message: refusal("kv-cache-dtype"),
    });
    assert.throws(() => chooseHalves({ ...auto, activationDtype: "fp16" }, choice, "int4"), {
      message: refusal("activation-dtype"),
    });
    assert.throws(() => chooseHalves(auto, choice, "fp16"), { message: refusal("dtype") });
  }
});

test("CUDA's keys and values are fp16, whatever the weights are", () => {
  const auto = { kvCacheDtype: "auto", activationDtype: "auto" } as const;
  assert.deepEqual(chooseHalves(auto, cudaChoice, "fp32"), { cacheType: "float16", activationType: "float32" });
  assert.deepEqual(chooseHalves(auto, cudaChoice, "fp16"), { cacheType: "float16", activationType: "float16" });
  assert.throws(() => chooseHalves({ ...auto, kvCacheDtype: "fp32" }, cudaChoice, "int4"), {
    message: "--kv-cache-dtype fp32: attention on CUDA takes keys and values in 16 bits alone; use auto or fp16.",
  });
  const narrow = { name: "Card N", capabilities: { ...cpu.capabilities, float16: true, wideAttention: false } };
  assert.equal(proveHalves(auto, "fp32", narrow).cacheType, "float16");
});

test("a card whose kernels fail the probe computes in fp32, unless fp16 was asked for", () => {
  const auto = { kvCacheDtype: "auto", activationDtype: "auto" } as const;
  const proven = { name: "Card A", capabilities: { ...cpu.capabilities, float16: true } };
  const failed = { name: "Card A", capabilities: { ...cpu.capabilities, float16: false } };
  assert.equal(proveHalves(auto, "int4", proven).cacheType, "float16");
  assert.equal(proveHalves(auto, "int4", failed).cacheType, "float32");
  assert.throws(() => proveHalves({ ...auto, kvCacheDtype: "fp16" }, "int4", failed), /Card A does not/);
});

test("a card whose attention is wrong in fp16 keeps keys and values in fp32, unless fp16 was asked for", async () => {
  const halves = { cacheType: "float16", activationType: "float16" } as const;
  const auto = { kvCacheDtype: "auto", activationDtype: "auto" } as const;
  const [wrong, right] = [async () => 0, async () => 2];
  assert.deepEqual(await trustAttention(halves, auto, right), halves);
  assert.deepEqual(await trustAttention(halves, auto, wrong), { cacheType: "float32", activationType: "float16" });
  assert.deepEqual(await trustAttention(halves, { ...auto, kvCacheDtype: "fp16" }, wrong), halves);
});

test("--kv-cache-dtype fp16 on the CPU is one line and exit code 2", async () => {
  const { code, err } = await run(["generate", "--model", model, "--device", "cpu", "--kv-cache-dtype", "fp16", "It"]);
  assert.deepEqual(
    [code, err],
    [2, "lorikeet: --kv-cache-dtype fp16 takes a graphics card that computes in fp16; the CPU does not.\n"],
  );
});

test("a card's memory bounds what lies on it; without memory of its own, the host's does too", () => {
  assert.equal(memoryFor(chosen(card), 2 ** 30), 23 * 2 ** 30);
  assert.equal(memoryFor(cudaChoice, 2 ** 30), 79 * 2 ** 30);
  assert.equal(memoryFor({ kind: "cpu", why: "as requested" }, 2 ** 30), usableMemory());
  const shared = { ...card, type: "integrated", memoryBytes: 2 ** 60 } as const;
  assert.equal(memoryFor(chosen(shared), 1), usableMemory() - 1);
});
