/**
 * The devices of the tests. `LORIKEET_TEST_DEVICE=webgpu` runs the tests of the engine on WebGPU, over a software driver too, and `cuda`
 * on CUDA; without the device they are skipped, or fail with `CI=true`. Without the variable nothing opens a card.
 */
import type { LorikeetError } from "../../src/base/errors.js";
import type { Arithmetic } from "../../src/model/serving/target.js";
import { findDevice } from "../../src/runtime/device/choose.js";
import { cpu } from "../../src/runtime/device/cpu.js";
import type { Device } from "../../src/runtime/device/device.js";
import { openDevice } from "../../src/runtime/device/open.js";

const asked = process.env.LORIKEET_TEST_DEVICE;

interface TestCard {
  readonly device: Device | null;
  /** Why it is not available here; false if it is. */
  readonly skip: string | false;
}

export const webgpu = await tryCard("webgpu");
export const cuda = await tryCard("cuda");

/** A separate device, for tests that break it. Throws if there is none. */
export const openTestWebgpu = (): Promise<Device> => openCard("webgpu");

async function openCard(device: "webgpu" | "cuda"): Promise<Device> {
  return await openDevice(await findDevice({ device, allowSoftwareGpu: true }));
}

async function tryCard(kind: "webgpu" | "cuda"): Promise<TestCard> {
  if (asked !== kind) return { device: null, skip: `it takes LORIKEET_TEST_DEVICE=${kind}` };
  try {
    return { device: await openCard(kind), skip: false };
  } catch (error) {
    if (process.env.CI === "true") throw error;
    return { device: null, skip: (error as LorikeetError).message };
  }
}

/** The card that was asked for. */
const card: TestCard = asked === "cuda" ? cuda : webgpu;
/** The device that the tests of the engine run on. */
export const testDevice: Device = card.device ?? cpu;
/** Why tests that need `testDevice` cannot run; false if they can. */
export const skipOnDevice: string | false = asked === "webgpu" || asked === "cuda" ? card.skip : false;
/** What they compute in, unless they say otherwise. */
export const testArithmetic: Arithmetic = testDevice.capabilities.wideAttention ? {} : { cacheType: "float16" };
