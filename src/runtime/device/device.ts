/**
 * Where sessions run and what they work on lives. The CPU is one device; others own memory that no typed array sees. Rooms above
 * hold `DeviceTensor`s and `DeviceRows` and move numbers with `upload`, `write` and `download` alone.
 */
import type { LorikeetError } from "../../base/errors.js";
import type { Pointer } from "../api.js";
import type { Tensor, TensorArray, TensorType } from "../tensor.js";

export type DeviceKind = "cpu" | "webgpu" | "cuda";

export interface Capture {
  /** Of the provider, for a session that captures. */
  readonly options: Readonly<Record<string, string>>;
}

/** What differs between devices in ways that callers have to know. */
export interface DeviceCapabilities {
  /** JavaScript reads and writes the tensors where they lie. */
  readonly hostMemory: boolean;
  /** A view may begin anywhere in a tensor; else only at its start. */
  readonly offsetViews: boolean;
  /** The attention kernel caps its scores. */
  readonly softcap: boolean;
  /** Products of uint8 activations by int8 weights with a scale for each output (the form `int8row`). */
  readonly integerProducts: boolean;
  /** Kernels compute in float16, and with half the bytes. Not on the CPU, whose kernels widen. */
  readonly float16: boolean;
  /** Kernels read tables of 16-bit floats. */
  readonly halfTables: boolean;
  /** The attention kernel computes in float32; else in 16-bit floats alone. */
  readonly wideAttention: boolean;
  /** How the kernels of a step are captured once and replayed; null: they are not. */
  readonly capture: Capture | null;
  /** The attention kernel is right for prompts of any length. If not, the self-test finds the longest chunk that is. */
  readonly longChunks: boolean;
}

/** Something that a session can be bound to or that can be copied from. */
export interface Bindable {
  readonly handle: Pointer;
}

/** A dense, row-major tensor in a device's memory. */
export interface DeviceTensor<T extends TensorType = TensorType> extends Bindable, Disposable {
  readonly type: T;
  readonly shape: readonly number[];
  /** The first rows of the first axis, sharing memory. */
  prefix(rows: number): DeviceTensor<T>;
  /** A part of the same memory in another shape, `first` elements from its start: 0 on a device without offset views. */
  as(shape: readonly number[], first?: number): DeviceTensor<T>;
}

/** The part of a row that is worth copying: the first `count` of the tensors' `axis`, which is not the rows' own. */
export interface RowPart {
  readonly axis: number;
  readonly count: number;
}

/**
 * Tensors of equally many rows that are written and moved together, such as the keys and values of all layers by slot. Whoever
 * calls an asynchronous method holds the device's turn.
 */
export interface DeviceRows extends Disposable {
  readonly count: number;
  readonly names: readonly string[];
  /** Adds a tensor [count, ...row] of zeros. Call before any row is moved. Throws `device_memory`. */
  add(name: string, type: TensorType, row: readonly number[]): void;
  /** Rows [first, first + count), sharing memory; `first` is 0 on a device without offset views. */
  view(name: string, first: number, count: number): DeviceTensor;
  /**
   * Where rows [first, first + count) of a tensor are laid out before `write`: their own memory where JavaScript sees it, else
   * memory of the host that all rows share.
   */
  layout<T extends TensorType>(name: string, type: T, first: number, count: number): TensorArray<T>;
  /** Copies the rows [first, first + count) that were laid out to the device. */
  write(first: number, count: number): Promise<void>;
  /** Row `from` over row `to`; at least the given part of it. */
  copy(from: number, to: number, part?: RowPart): Promise<void>;
  /** Fills a row with zeros. */
  clear(row: number): Promise<void>;
  /**
   * A row on its own, [1, ...row] by name, to be changed in place. A `fresh` one holds nothing of value yet. The device may keep
   * it aside until `settle`, `copy` or the next `enter`.
   */
  enter(row: number, fresh: boolean): Promise<ReadonlyMap<string, DeviceTensor>>;
  /** Before views of rows [0, count) are used: the row that was entered lies among them again. */
  settle(count: number): Promise<void>;
}

/** An execution provider of ONNX Runtime, as a session appends it. */
export interface ExecutionProvider {
  readonly name: "WebGPU" | "CUDA";
  readonly options: Readonly<Record<string, string>>;
  /** More of them, for a session that computes in int64. */
  readonly int64: Readonly<Record<string, string>>;
}

export interface Device extends Disposable {
  readonly kind: DeviceKind;
  /** What the operator knows it by, such as "NVIDIA L4" or "llvmpipe". */
  readonly name: string;
  /** A driver that computes on the CPU. Never true of the CPU itself. */
  readonly software: boolean;
  readonly capabilities: DeviceCapabilities;
  /** Bytes of the device's own memory; null where it is the host's or unknown. */
  readonly memoryBytes: number | null;
  /** Bytes that were allocated and not yet disposed of. */
  readonly allocatedBytes: number;
  /** What sessions run on; null: ONNX Runtime's own CPU kernels. */
  readonly provider: ExecutionProvider | null;
  /** Zeros. Throws `device_memory`. In a turn. */
  allocate<T extends TensorType>(type: T, shape: readonly number[]): DeviceTensor<T>;
  /** Copies tensors of the host or of this device, the first into the beginning of the second of each pair. In a turn. */
  upload(copies: readonly (readonly [from: Bindable, to: DeviceTensor])[]): Promise<void>;
  /** Copies as much as `into` takes, after all runs so far. In a turn. */
  download(from: DeviceTensor, into: Tensor): Promise<void>;
  rows(count: number): DeviceRows;
  /**
   * One caller at a time: whatever reaches the device (runs, bindings, copies, allocations, disposals, new sessions) happens
   * within a turn, and a turn takes no other. The CPU needs none and calls at once.
   */
  turn<T>(job: () => Promise<T>): Promise<T>;
  /** Is called once if the device is lost; at once if it was already. Returns how to stop listening. */
  onLost(listener: (error: LorikeetError) => void): () => void;
}
