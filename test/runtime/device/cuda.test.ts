/** CUDA as a device. */
import { assert } from "../../../src/base/errors.js";
import type { Device } from "../../../src/runtime/device/device.js";
import { cuda } from "../../support/device.js";
import { deviceContract, turnContract } from "../../support/device-contract.js";

const open = async (): Promise<Device> => {
  assert(cuda.device, "without a card these tests are skipped");
  return cuda.device;
};

deviceContract("cuda", open, cuda.skip);
turnContract("cuda", open, cuda.skip);
