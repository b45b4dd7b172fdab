/** The task engine's interface: tensors in, tensors out, each row with its own adapter. */

import type { EngineLimits, EngineStats } from "../types.js";

/** Element types of tensors that cross the engine's border. */
export type TaskType = "float32" | "float64" | "float16" | "bfloat16" | "int64" | "int32" | "int8" | "uint8" | "bool";

/** 16-bit floats are raw bits; booleans are bytes of 0 and 1. */
export type TaskData = Float32Array | Float64Array | Uint16Array | BigInt64Array | Int32Array | Int8Array | Uint8Array;

/** A dense, row-major tensor. */
export interface TaskTensor {
  readonly type: TaskType;
  readonly shape: readonly number[];
  readonly data: TaskData;
}

/** An input or output of the model. Named sizes may differ between requests. */
export interface TaskPort {
  readonly name: string;
  readonly type: TaskType;
  /** null: not even the number of axes is known. */
  readonly shape: readonly (number | string)[] | null;
  /** Of ids that are looked up in a table: how many it has. null for other values. */
  readonly limit: number | null;
}

export interface TaskSignature {
  readonly inputs: readonly TaskPort[];
  readonly outputs: readonly TaskPort[];
  /** Whether the first axis of every input and output is the batch, whose rows do not affect one another. Otherwise a request runs alone. */
  readonly isBatched: boolean;
}

export interface TaskRequest {
  /** By name: one row each, with a first axis of 1, or a whole run of a model without a batch. Checked against the signature. */
  readonly inputs: ReadonlyMap<string, TaskTensor>;
  /** The digest of the adapter's weights; null is the base. */
  readonly adapter: string | null;
  readonly signal?: AbortSignal;
}

export interface TaskResult {
  /** By name, in the signature's order. */
  readonly outputs: ReadonlyMap<string, TaskTensor>;
  readonly queueMs: number;
  /** What the adapter calls its outputs; null: as the base does. */
  readonly labels: readonly string[] | null;
}

/** A submitted row. Exactly one of its endings comes: a result, or a LorikeetError. */
export interface TaskJob {
  /** Resolves when its run begins; rejects as `result` does if it never begins. */
  readonly admitted: Promise<void>;
  readonly result: Promise<TaskResult>;
}

export interface TaskEngine {
  readonly limits: Omit<EngineLimits, "maxContext">;
  readonly signature: TaskSignature;
  /** The signature's outputs with the sizes of an adapter's own head, for which it is loaded. null: the base. */
  outputsOf(adapter: string | null): Promise<readonly TaskPort[]>;
  /** Throws `queue_full`, `adapter_queue_full` or `draining` at once; later errors reject the job. */
  submit(request: TaskRequest): TaskJob;
  stats(): EngineStats;
  drain(graceMs: number): Promise<void>;
  close(graceMs?: number): Promise<void>;
}
