/** Tensors in a card's memory. Their pointers are the provider's handles: never read them as memory. */
import { assert } from "../../base/errors.js";
import { ort, type Pointer } from "../api.js";
import { type TensorType, tensorBytes, tensorCode } from "../tensor.js";
import type { DeviceTensor } from "./device.js";

/** A tensor in the card's memory, or a view of the beginning of one. */
export class CardTensor<T extends TensorType> implements DeviceTensor<T> {
  readonly type: T;
  readonly shape: readonly number[];
  readonly #memory: Pointer;
  readonly #onDispose: () => void;
  #handle: Pointer;

  constructor(memory: Pointer, type: T, shape: readonly number[], handle: Pointer, onDispose: () => void) {
    this.type = type;
    this.shape = shape;
    this.#memory = memory;
    this.#handle = handle;
    this.#onDispose = onDispose;
  }

  get handle(): Pointer {
    assert(this.#handle !== 0n, "a disposed tensor is not used");
    return this.#handle;
  }

  prefix(rows: number): DeviceTensor<T> {
    return this.as([rows, ...this.shape.slice(1)]);
  }

  as(shape: readonly number[], first = 0): DeviceTensor<T> {
    return viewOf(this, this.#memory, this.type, shape, first);
  }

  [Symbol.dispose](): void {
    if (this.#handle === 0n) return;
    ort().call("ReleaseValue", this.#handle);
    this.#handle = 0n;
    this.#onDispose();
  }
}

/** The beginning of a tensor's memory as another type and shape. */
export function viewOf<T extends TensorType>(
  tensor: DeviceTensor,
  memory: Pointer,
  type: T,
  shape: readonly number[],
  first = 0,
): DeviceTensor<T> {
  assert(first === 0, "views of a card's memory begin where the tensor does");
  const bytes = tensorBytes(type, shape);
  assert(bytes > 0 && bytes <= tensorBytes(tensor.type, tensor.shape), `[${shape}] fits into [${tensor.shape}]`);
  const pointer = ort().make("GetTensorMutableData", tensor.handle);
  const dims = BigInt64Array.from(shape, BigInt);
  const code = tensorCode(type);
  const handle = ort().make("CreateTensorWithDataAsOrtValue", memory, pointer, bytes, dims, shape.length, code);
  return new CardTensor(memory, type, shape, handle, () => {});
}
