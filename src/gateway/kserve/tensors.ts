/** Tensors of the Open Inference Protocol (KServe's version 2) as JSON. */

import type { TaskData, TaskPort, TaskTensor, TaskType } from "../../engine/task/types.js";
import { Found } from "../body/parse.js";

/** Names of element types. Brain floats and strings have no JSON form here. */
const datatypes = {
  float32: "FP32",
  float64: "FP64",
  float16: "FP16",
  bfloat16: "BF16",
  int64: "INT64",
  int32: "INT32",
  int8: "INT8",
  uint8: "UINT8",
  bool: "BOOL",
} as const satisfies Record<TaskType, string>;

export const allowedDatatypes = Object.values(datatypes).filter((name) => name !== "BF16" && name !== "FP16");

export const datatypeOf = (type: TaskType): string => datatypes[type];

export function typeOf(datatype: string): TaskType | null {
  const entry = Object.entries(datatypes).find(([, name]) => name === datatype);
  return (entry?.[0] as TaskType | undefined) ?? null;
}

export interface TensorMetadata {
  readonly name: string;
  readonly datatype: string;
  /** -1: any size. */
  readonly shape: readonly number[];
}

export function metadataOf({ name, type, shape }: TaskPort): TensorMetadata {
  return {
    name,
    datatype: datatypes[type],
    shape: (shape ?? [-1]).map((size) => (typeof size === "number" ? size : -1)),
  };
}

const ranges = {
  int8: [-128, 127],
  uint8: [0, 255],
  int32: [-(2 ** 31), 2 ** 31 - 1],
} as const;

/** A tensor from a flat or a nested list in row-major order; a description of what is wrong otherwise. */
export function tensorOf(type: TaskType, shape: readonly number[], data: readonly unknown[]): TaskTensor | Found {
  const count = shape.reduce((product, size) => product * size, 1);
  const values: unknown[] = [];
  const isShort = flatten(data, values, count);
  if (!isShort || values.length !== count) {
    return new Found(
      `${isShort ? values.length : `more than ${count}`} elements of data for the shape [${shape.join(", ")}]`,
    );
  }
  const wrong = values.findIndex((value) => !fits(type, value));
  if (wrong >= 0) return new Found(`an element at position ${wrong} that is no ${datatypes[type]}`);
  return { type, shape, data: packed(type, values) };
}

/** Whether at most `limit` elements were found. Lists are at most as deep as the body's nesting, which is bounded. */
function flatten(data: readonly unknown[], into: unknown[], limit: number): boolean {
  for (const item of data) {
    if (Array.isArray(item)) {
      if (!flatten(item, into, limit)) return false;
    } else if (into.push(item) > limit) return false;
  }
  return true;
}

function fits(type: TaskType, value: unknown): boolean {
  if (type === "bool") return typeof value === "boolean" || value === 0 || value === 1;
  if (typeof value !== "number" || !Number.isFinite(value)) return false;
  if (type === "float32") return Number.isFinite(Math.fround(value));
  if (type === "float64") return true;
  if (type === "int64") return Number.isSafeInteger(value);
  const [min, max] = ranges[type as keyof typeof ranges] ?? [1, 0];
  return Number.isInteger(value) && value >= min && value <= max;
}

function packed(type: TaskType, values: readonly unknown[]): TaskData {
  const numbers = values as readonly (number | boolean)[];
  switch (type) {
    case "int64":
      return BigInt64Array.from(numbers, BigInt);
    case "int32":
      return Int32Array.from(numbers, Number);
    case "int8":
      return Int8Array.from(numbers, Number);
    case "float64":
      return Float64Array.from(numbers, Number);
    case "float32":
      return Float32Array.from(numbers, Number);
    default:
      return Uint8Array.from(numbers, Number);
  }
}

/** Elements as JSON has them. A value that is not a number becomes null. */
export function elementsOf({ type, data }: TaskTensor): readonly (number | boolean | null)[] {
  if (type === "bool") return Array.from(data as Uint8Array, (value) => value !== 0);
  return Array.from(data as ArrayLike<number | bigint>, (value) => {
    const number = Number(value);
    return Number.isFinite(number) ? number : null;
  });
}
