/** The numbers of a device tensor that lies in host memory. */
import assert from "node:assert/strict";
import type { DeviceTensor } from "../../src/runtime/device/device.js";
import { Tensor } from "../../src/runtime/tensor.js";

export function hostData(tensor: DeviceTensor | undefined): Float32Array {
  assert.ok(tensor instanceof Tensor && tensor.data instanceof Float32Array, "the tensor lies in host memory");
  return tensor.data;
}
