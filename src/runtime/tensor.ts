/** Tensors that ONNX Runtime reads and writes: OrtValues over host memory, which each tensor keeps alive. */
import { assert } from "../base/errors.js";
import { elementCount } from "../tensor/shape.js";
import { ort, type Pointer } from "./api.js";

const kinds = {
  float32: { code: 1, bytes: 4, array: Float32Array },
  uint8: { code: 2, bytes: 1, array: Uint8Array },
  int8: { code: 3, bytes: 1, array: Int8Array },
  int32: { code: 6, bytes: 4, array: Int32Array },
  int64: { code: 7, bytes: 8, array: BigInt64Array },
  bool: { code: 9, bytes: 1, array: Uint8Array },
  float16: { code: 10, bytes: 2, array: Uint16Array },
  float64: { code: 11, bytes: 8, array: Float64Array },
  bfloat16: { code: 16, bytes: 2, array: Uint16Array },
} as const;

export type TensorType = keyof typeof kinds;
export type TensorArray<T extends TensorType> = InstanceType<(typeof kinds)[T]["array"]>;

const released = new FinalizationRegistry<Pointer>((handle) => ort().call("ReleaseValue", handle));

/** A dense, row-major tensor in host memory. Dispose it, or let it be collected. */
export class Tensor<T extends TensorType = TensorType> implements Disposable {
  readonly type: T;
  readonly shape: readonly number[];
  readonly data: TensorArray<T>;
  #handle: Pointer;

  private constructor(type: T, shape: readonly number[], data: TensorArray<T>) {
    this.type = type;
    this.shape = shape;
    this.data = data;
    const dims = BigInt64Array.from(shape, BigInt);
    const pointer = data.byteLength === 0 ? emptyMemory : data;
    const { code } = kinds[type];
    this.#handle = ort().make(
      "CreateTensorWithDataAsOrtValue",
      ort().cpuMemory,
      pointer,
      data.byteLength,
      dims,
      shape.length,
      code,
    );
    released.register(this, this.#handle, this);
  }

  /** Zeroed memory. Pages of large buffers that are never touched cost nothing. */
  static zeros<T extends TensorType>(type: T, shape: readonly number[]): Tensor<T> {
    return Tensor.over(type, shape, new ArrayBuffer(elementCount(shape) * kinds[type].bytes));
  }

  /** A tensor over existing memory; `byteOffset` must be a multiple of the element's size. */
  static over<T extends TensorType>(
    type: T,
    shape: readonly number[],
    buffer: ArrayBufferLike,
    byteOffset = 0,
  ): Tensor<T> {
    const size = elementCount(shape);
    const { bytes, array } = kinds[type];
    assert(byteOffset + size * bytes <= buffer.byteLength, `a ${type} tensor [${shape}] lies inside its buffer`);
    return new Tensor(type, shape, new array(buffer as ArrayBuffer, byteOffset, size) as TensorArray<T>);
  }

  static from<T extends TensorType>(type: T, shape: readonly number[], data: TensorArray<T>): Tensor<T> {
    return Tensor.over(type, shape, data.buffer, data.byteOffset);
  }

  /** Rows [first, first + rows) of the first axis, sharing memory. */
  rows(first: number, rows: number): Tensor<T> {
    const [total = 1, ...rest] = this.shape;
    assert(first >= 0 && first + rows <= total, `rows ${first}..${first + rows} of ${total}`);
    const offset = this.data.byteOffset + first * elementCount(rest) * kinds[this.type].bytes;
    return Tensor.over(this.type, [rows, ...rest], this.data.buffer, offset);
  }

  /** The first rows of the first axis, sharing memory. */
  prefix(rows: number): Tensor<T> {
    return this.rows(0, rows);
  }

  /** A part of the same memory in another shape, `first` elements from its start. */
  as(shape: readonly number[], first = 0): Tensor<T> {
    assert(
      first + elementCount(shape) <= this.data.length,
      `[${shape}] from element ${first} on lies in [${this.shape}]`,
    );
    return Tensor.over(this.type, shape, this.data.buffer, this.data.byteOffset + first * kinds[this.type].bytes);
  }

  get handle(): Pointer {
    assert(this.#handle !== 0n, "a disposed tensor is not used");
    return this.#handle;
  }

  [Symbol.dispose](): void {
    if (this.#handle === 0n) return;
    released.unregister(this);
    ort().call("ReleaseValue", this.#handle);
    this.#handle = 0n;
  }
}

/** Bytes of a cache line, and of the widest loads. */
const cacheLine = 64;

/**
 * Zeros whose address is a multiple of a cache line. Buffers of Node's begin 16 bytes after one: each load of an AVX-512 kernel then reads
 * two lines, and a convolution takes a third longer.
 */
export function alignedFloats(count: number): Float32Array<ArrayBuffer> {
  const buffer = new ArrayBuffer(count * Float32Array.BYTES_PER_ELEMENT + cacheLine);
  const past = Number(ort().address(buffer) % BigInt(cacheLine));
  return new Float32Array(buffer, (cacheLine - past) % cacheLine, count);
}

// ONNX Runtime refuses a null pointer even for tensors without elements.
const emptyMemory = new Uint8Array(64);

/** Bytes of a dense tensor. */
export const tensorBytes = (type: TensorType, shape: readonly number[]): number =>
  elementCount(shape) * kinds[type].bytes;

/** ONNX Runtime's code of an element type. */
export const tensorCode = (type: TensorType): number => kinds[type].code;

/** The element type of ONNX Runtime's code. */
export function tensorTypeOf(code: number): TensorType {
  const entry = Object.entries(kinds).find(([, kind]) => kind.code === code);
  assert(entry, `element type ${code} is known`);
  return entry[0] as TensorType;
}
