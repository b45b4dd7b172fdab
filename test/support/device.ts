/**
 * The devices of the tests. `LORIKEET_TEST_DEVICE=webgpu` runs the tests of the engine on WebGPU, over a software driver too; without
 * one they are skipped, or fail with `CI=true`.
 */
import type { LorikeetError } from "../../src/base/errors.js";
import { findDevice } from "../../src/runtime/device/choose.js";
import { cpu } from "../../src/runtime/device/cpu.js";
import type { Device } from "../../src/runtime/device/device.js";
import { openDevice } from "../../src/runtime/device/open.js";

/** WebGPU, or why there is none here. */
export const webgpu: { readonly device: Device | null; readonly skip: string | false } = await tryWebgpu();

/** A device of its own, for tests that break it. Throws where there is none. */
export async function openTestWebgpu(): Promise<Device> {
  const request = { device: "webgpu", allowSoftwareGpu: true } as const;
  return await openDevice(await findDevice(request, { cudaFault: () => null }));
}

async function tryWebgpu() {
  try {
    return { device: await openTestWebgpu(), skip: false } as const;
  } catch (error) {
    if (process.env.CI === "true") throw error;
    return { device: null, skip: (error as LorikeetError).message };
  }
}

export const isOnWebgpu = process.env.LORIKEET_TEST_DEVICE === "webgpu";

/** The device that the tests of the engine run on. */
export const testDevice: Device = isOnWebgpu && webgpu.device ? webgpu.device : cpu;
/** Why tests that need `testDevice` cannot run; false if they can. */
export const skipOnDevice: string | false = isOnWebgpu ? webgpu.skip : false;
