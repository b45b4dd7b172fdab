/** WebGPU as a device. */
import { assert } from "../../../src/base/errors.js";
import type { Device } from "../../../src/runtime/device/device.js";
import { webgpu } from "../../support/device.js";
import { deviceContract, turnContract } from "../../support/device-contract.js";

const open = async (): Promise<Device> => {
  assert(webgpu.device, "without a driver these tests are skipped");
  return webgpu.device;
};

deviceContract("webgpu", open, webgpu.skip);
turnContract("webgpu", open, webgpu.skip);
