/**
 * The devices of the tests. `LORIKEET_TEST_DEVICE=webgpu` runs the tests of the engine on WebGPU, over a software driver too; without
 * a driver they are skipped, or fail with `CI=true`. Without the variable nothing opens a card.
 */
import type { LorikeetError } from "../../src/base/errors.js";
import { findDevice } from "../../src/runtime/device/choose.js";
import { cpu } from "../../src/runtime/device/cpu.js";
import type { Device } from "../../src/runtime/device/device.js";
import { openDevice } from "../../src/runtime/device/open.js";

export const isOnWebgpu = process.env.LORIKEET_TEST_DEVICE === "webgpu";

/** WebGPU, or the reason why it is not available here. */
export const webgpu: { readonly device: Device | null; readonly skip: string | false } = await tryWebgpu();

/** A separate device, for tests that break it. Throws if there is none. */
export async function openTestWebgpu(): Promise<Device> {
  const request = { device: "webgpu", allowSoftwareGpu: true } as const;
  return await openDevice(await findDevice(request, { cudaFault: () => null }));
}

async function tryWebgpu() {
  if (!isOnWebgpu) return { device: null, skip: "it takes LORIKEET_TEST_DEVICE=webgpu" } as const;
  try {
    return { device: await openTestWebgpu(), skip: false } as const;
  } catch (error) {
    if (process.env.CI === "true") throw error;
    return { device: null, skip: (error as LorikeetError).message };
  }
}

/** The device that the tests of the engine run on. */
export const testDevice: Device = isOnWebgpu && webgpu.device ? webgpu.device : cpu;
/** Why tests that need `testDevice` cannot run; false if they can. */
export const skipOnDevice: string | false = isOnWebgpu ? webgpu.skip : false;
