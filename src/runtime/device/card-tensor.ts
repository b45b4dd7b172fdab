/** Tensors in a card's memory. Their pointers are the card's addresses or the provider's handles: never read them as memory. */
import { assert } from "../../base/errors.js";
import { ort, type Pointer } from "../api.js";
import { type TensorType, tensorBytes, tensorCode } from "../tensor.js";
import type { DeviceTensor } from "./device.js";

/** The memory of a card, as ONNX Runtime names it. */
export interface CardMemory {
  readonly info: Pointer;
  /** Pointers are addresses, so that a view may begin anywhere in a tensor; else handles, and it begins at the start. */
  readonly offsetViews: boolean;
}

/** A tensor in the card's memory, or a view of a part of one. */
export class CardTensor<T extends TensorType> implements DeviceTensor<T> {
  readonly type: T;
  readonly shape: readonly number[];
  readonly #memory: CardMemory;
  readonly #onDispose: () => void;
  #handle: Pointer;

  constructor(memory: CardMemory, type: T, shape: readonly number[], handle: Pointer, onDispose: () => void) {
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

/** A part of a tensor's memory as another type and shape; `first` counts elements of that type. */
export function viewOf<T extends TensorType>(
  tensor: DeviceTensor,
  memory: CardMemory,
  type: T,
  shape: readonly number[],
  first = 0,
): DeviceTensor<T> {
  assert(first === 0 || memory.offsetViews, "views of this card's memory begin where the tensor does");
  const bytes = tensorBytes(type, shape);
  const offset = tensorBytes(type, [first]);
  assert(
    bytes > 0 && offset + bytes <= tensorBytes(tensor.type, tensor.shape),
    `[${shape}] from element ${first} on lies in [${tensor.shape}]`,
  );
  const pointer = ort().make("GetTensorMutableData", tensor.handle) + BigInt(offset);
  const dims = BigInt64Array.from(shape, BigInt);
  const code = tensorCode(type);
  const handle = ort().make("CreateTensorWithDataAsOrtValue", memory.info, pointer, bytes, dims, shape.length, code);
  return new CardTensor(memory, type, shape, handle, () => {});
}
