/** The weights of graphs that are read from the same files: in memory once for all of their sessions. */

import type { Graph } from "../../graph/types.js";
import { cpu } from "../../runtime/device/cpu.js";
import type { Device } from "../../runtime/device/device.js";
import { SharedWeights } from "../../runtime/session.js";
import { Tensor } from "../../runtime/tensor.js";

/** Smaller initializers are copied into each session: ONNX Runtime folds them into other constants. */
const leastSharedBytes = 4096;

export class GraphWeights implements Disposable {
  readonly shared: SharedWeights;
  readonly #names = new Set<string>();

  /** `device`: of the sessions. */
  constructor(device: Device = cpu) {
    this.shared = new SharedWeights(device.capabilities.hostMemory ? null : device);
  }

  /** Takes a graph's weights. Those of an earlier graph must have the same values under the same names. */
  add({ initializers }: Graph): void {
    for (const { value, data } of initializers) {
      const { name, type } = value;
      const bytes = data.kind === "inline" ? data.bytes.byteLength : data.byteLength;
      if (type !== "float32" || bytes < leastSharedBytes || this.#names.has(name)) continue;
      const shape = value.shape.map(Number);
      if (data.kind === "external") this.shared.add(name, type, shape, data);
      else this.shared.hold(name, floatsOver(shape, data.bytes));
      this.#names.add(name);
    }
  }

  /** Names of a graph's initializers that are shared. */
  namesIn({ initializers }: Graph): string[] {
    return initializers.flatMap(({ value: { name } }) => (this.#names.has(name) ? [name] : []));
  }

  /** Call it after every session that uses them is closed; in a turn of the device. */
  [Symbol.dispose](): void {
    this.shared[Symbol.dispose]();
  }
}

/** A tensor over bytes as they are; over a copy if they are not aligned. */
function floatsOver(shape: readonly number[], bytes: Uint8Array): Tensor {
  const isAligned = bytes.byteOffset % Float32Array.BYTES_PER_ELEMENT === 0;
  const { buffer, byteOffset } = isAligned ? bytes : Uint8Array.from(bytes);
  return Tensor.over("float32", shape, buffer, byteOffset);
}
