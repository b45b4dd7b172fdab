/** Host tensors that the inputs of steps are written into: one for each name and shape, reused by every step. */

import { Tensor } from "../runtime/tensor.js";

export class StepBuffers {
  readonly #tensors = new Map<string, Tensor>();

  /** Its numbers are those of the last step with this name and shape. */
  of<T extends "int32" | "int64" | "float32">(name: string, type: T, shape: readonly number[]): Tensor<T> {
    const key = `${name}[${shape}]`;
    let tensor = this.#tensors.get(key);
    if (!tensor) {
      tensor = Tensor.zeros(type, shape);
      this.#tensors.set(key, tensor);
    }
    return tensor as Tensor<T>;
  }

  ints(name: string, count: number, value: (i: number) => number): Tensor<"int32"> {
    const tensor = this.of(name, "int32", [count]);
    for (let i = 0; i < count; i++) tensor.data[i] = value(i);
    return tensor;
  }
}
