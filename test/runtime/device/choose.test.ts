/** The choice of a device on faked machines. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { LorikeetError } from "../../../src/base/errors.js";
import { chooseDevice, type DeviceChoice, type Surroundings } from "../../../src/runtime/device/choose.js";
import type { CudaCard } from "../../../src/runtime/device/cuda-driver.js";
import type { CudaSurvey } from "../../../src/runtime/device/cuda-provider.js";
import type { GpuAdapter } from "../../../src/runtime/device/vulkan.js";

const card: GpuAdapter = {
  name: "Card A",
  type: "discrete",
  driver: "driver 1.0",
  memoryBytes: 24 * 2 ** 30,
  maxStorageBufferBytes: 2 ** 32 - 1,
  maxAllocationBytes: 2 ** 32 - 1,
  fp16: true,
  subgroupSize: 32,
  lacks: [],
};
const integrated: GpuAdapter = { ...card, name: "Chip B", type: "integrated" };
const virtual: GpuAdapter = { ...card, name: "Virtual C", type: "virtual" };
const llvmpipe: GpuAdapter = { ...card, name: "llvmpipe", type: "software", subgroupSize: 8 };
const old: GpuAdapter = { ...card, name: "Old D", lacks: ["robustBufferAccess"] };

const machine = (adapters: readonly GpuAdapter[], more: Partial<Surroundings> = {}): Surroundings => ({
  gpus: { adapters, fault: null },
  platform: "linux/x64",
  cuda: null,
  ...more,
});
const bare = (fault: string): Surroundings => machine([], { gpus: { adapters: [], fault } });

const auto = (found: Surroundings, allowSoftwareGpu = false): DeviceChoice =>
  chooseDevice({ device: "auto", allowSoftwareGpu }, found);
const webgpu = (found: Surroundings, allowSoftwareGpu = false): DeviceChoice =>
  chooseDevice({ device: "webgpu", allowSoftwareGpu }, found);
const nameOf = (choice: DeviceChoice): string | null => (choice.kind === "webgpu" ? choice.adapter.name : null);

function refusal(choose: () => DeviceChoice): string {
  try {
    choose();
  } catch (error) {
    assert.ok(error instanceof LorikeetError && error.code === "device_unavailable");
    return error.message;
  }
  assert.fail("the device is refused");
}

test("auto takes a card, and the CPU where there is none", () => {
  assert.deepEqual(auto(machine([card])), { kind: "webgpu", why: "the only card", adapter: card });
  assert.equal(auto(machine([])).kind, "cpu");
  assert.match(auto(bare("no Vulkan driver is installed")).why, /no Vulkan driver is installed/);
});

test("auto never takes a software driver, whether or not software is allowed", () => {
  for (const allowed of [false, true]) {
    const choice = auto(machine([llvmpipe]), allowed);
    assert.equal(choice.kind, "cpu");
    assert.match(choice.why, /only the software driver llvmpipe/);
  }
});

test("a card comes before a software driver, in whatever order they are listed", () => {
  for (const adapters of [
    [card, llvmpipe],
    [llvmpipe, card],
  ]) {
    assert.equal(nameOf(auto(machine(adapters))), "Card A");
    assert.equal(nameOf(webgpu(machine(adapters))), "Card A");
    assert.equal(nameOf(webgpu(machine(adapters), true)), "Card A");
  }
});

test("of two cards the discrete one is taken, of two equal ones the first, and the other is named", () => {
  assert.equal(nameOf(auto(machine([integrated, card]))), "Card A");
  const twin = { ...card, name: "Card E" };
  assert.deepEqual(auto(machine([card, twin])), { kind: "webgpu", why: "chosen before Card E", adapter: card });
});

test("a card that lacks a feature is passed over; alone, it is refused by what it lacks", () => {
  assert.equal(nameOf(auto(machine([old, integrated]))), "Chip B");
  assert.match(auto(machine([old])).why, /Old D lacks what WebGPU needs \(robustBufferAccess\)/);
  assert.match(
    refusal(() => webgpu(machine([old]))),
    /Old D lacks .*Update its driver/,
  );
  // WebGPU skips the card and would run on the software driver.
  assert.equal(auto(machine([old, llvmpipe])).kind, "cpu");
});

test("a virtual card is taken alone; a software driver that WebGPU would take before it is refused", () => {
  assert.equal(nameOf(auto(machine([virtual]))), "Virtual C");
  assert.equal(auto(machine([virtual, llvmpipe])).kind, "cpu");
  assert.match(
    refusal(() => webgpu(machine([virtual, llvmpipe]))),
    /would take the software driver llvmpipe before Virtual C/,
  );
});

test("webgpu without a card says what was found and what to do", () => {
  assert.match(
    refusal(() => webgpu(bare("the Vulkan loader (libvulkan.so.1) is not installed"))),
    /no graphics card was found \(the Vulkan loader .* is not installed\)\. Install .* or use --device cpu\./,
  );
  assert.match(
    refusal(() => webgpu(machine([llvmpipe]))),
    /only the software driver llvmpipe\. .*--allow-software-gpu/,
  );
  assert.equal(nameOf(webgpu(machine([llvmpipe]), true)), "llvmpipe");
  const outdated = { ...llvmpipe, lacks: ["robustBufferAccess"] };
  assert.match(
    refusal(() => webgpu(machine([outdated]))),
    /only the software driver llvmpipe\. It lacks .*robustBufferAccess.*use --device cpu\.$/,
  );
  assert.match(
    refusal(() => webgpu(machine([outdated]), true)),
    /llvmpipe lacks .*Update its driver/,
  );
});

test("a platform without WebGPU in ONNX Runtime's package runs on the CPU", () => {
  const arm = machine([card], { platform: "linux/arm64" });
  assert.match(auto(arm).why, /no WebGPU for linux\/arm64/);
  assert.match(
    refusal(() => webgpu(arm, true)),
    /no WebGPU for linux\/arm64: use --device cpu/,
  );
});

const nvidia: CudaCard = { name: "Card N", memoryBytes: 80 * 2 ** 30, computeCapability: "9.0", cudaVersion: "13.0" };
const twinNvidia = { ...nvidia, name: "Card O" };
const cudaCards = (...cards: CudaCard[]): CudaSurvey => ({ cards, fault: null });

test("cuda takes the first card, and says why there is none", () => {
  const cuda = { device: "cuda", allowSoftwareGpu: false } as const;
  const found = machine([card], { cuda: cudaCards(nvidia, twinNvidia) });
  assert.deepEqual(chooseDevice(cuda, found), { kind: "cuda", why: "as requested", card: nvidia });
  const missing = machine([card], { cuda: { cards: [], fault: "its libraries are missing" } });
  assert.match(
    refusal(() => chooseDevice(cuda, missing)),
    /^--device cuda cannot run here: its libraries are missing\. --device webgpu needs /,
  );
});

test("auto takes CUDA where its provider is installed and works, else WebGPU", () => {
  const both = machine([card], { cuda: cudaCards(nvidia) });
  assert.deepEqual(auto(both), { kind: "cuda", why: "its provider is installed", card: nvidia });
  const broken = machine([card], { cuda: { cards: [], fault: "NVIDIA's driver lists no card" } });
  assert.equal(auto(broken).kind, "webgpu");
  assert.equal(auto(machine([], { cuda: broken.cuda })).kind, "cpu");
});
