/** Tensors of the Open Inference Protocol (KServe's version 2) as JSON. */

import { assert, LorikeetError } from "../../base/errors.js";
import type { TaskData, TaskPort, TaskTensor, TaskType } from "../../engine/task/types.js";
import { elementCount } from "../../tensor/shape.js";
import { Found } from "../body/parse.js";
import { valuesOf } from "../tasks/values.js";

/** Names of element types. */
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

type Datatype = (typeof datatypes)[TaskType];

export const allowedDatatypes = Object.values(datatypes);

export const datatypeOf = (type: TaskType): string => datatypes[type];

const types = new Map(Object.entries(datatypes).map(([type, name]) => [name, type as TaskType]));

export function typeOf(datatype: Datatype): TaskType {
  const type = types.get(datatype);
  assert(type, "every datatype has a type");
  return type;
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

/** A tensor from a flat list in row-major order, or from lists nested exactly as its shape; a description of what is wrong otherwise. */
export function tensorOf(type: TaskType, shape: readonly number[], data: readonly unknown[]): TaskTensor | Found {
  if (type === "float16" || type === "bfloat16") {
    return new Found(
      `${datatypes[type]} as JSON; it comes as binary data, with \`binary_data_size\` in \`parameters\``,
    );
  }
  const count = elementCount(shape);
  const isNested = data.some(Array.isArray);
  if (!isNested && data.length !== count) {
    const found = data.length > count ? `more than ${count}` : data.length;
    const noun = data.length === 1 ? "element" : "elements";
    return new Found(`${found} ${noun} of data for the shape [${shape.join(", ")}]`);
  }
  const values: unknown[] = [];
  const fault = isNested ? unnest(data, shape, values, "data") : null;
  if (fault !== null) {
    const allowed = `a flat list of ${count} elements, or lists nested as the shape [${shape.join(", ")}]`;
    return new Found(`${fault}; ${allowed}, are allowed`);
  }
  const elements = isNested ? values : data;
  const wrong = elements.findIndex((value) => !fits(type, value));
  if (wrong >= 0) return new Found(`an element at position ${wrong} ${faultOf(type, elements[wrong])}`);
  return { type, shape, data: packed(type, elements) };
}

/** Adds the elements of lists nested as `sizes`. Returns what does not fit, or null. `place`: of the item, for its reader. */
function unnest(item: unknown, sizes: readonly number[], into: unknown[], place: string): string | null {
  const [size, ...inner] = sizes;
  if (size === undefined) {
    if (Array.isArray(item)) return `a list at ${place}, where an element belongs`;
    into.push(item);
    return null;
  }
  if (!Array.isArray(item)) return `an element at ${place}, where a list of ${size} belongs`;
  if (item.length !== size) return `a list of ${item.length} at ${place}, where a list of ${size} belongs`;
  for (const [index, part] of item.entries()) {
    const fault = unnest(part, inner, into, `${place}[${index}]`);
    if (fault !== null) return fault;
  }
  return null;
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

const faultOf = (type: TaskType, value: unknown): string =>
  type === "int64" && typeof value === "number" && Number.isInteger(value)
    ? "that JSON does not hold exactly; integers beyond 2^53 come as binary data, with `binary_data_size` in `parameters`"
    : `that is not of type ${datatypes[type]}`;

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

/** Elements as JSON has them. A value that is not a number becomes null. Throws `invalid_value` for an integer that JSON does not hold exactly. */
export function elementsOf(name: string, tensor: TaskTensor): readonly (number | boolean | null)[] {
  if (tensor.type === "bool") return Array.from(tensor.data as Uint8Array, (value) => value !== 0);
  return Array.from(valuesOf(tensor), (value) => {
    const number = Number(value);
    if (typeof value === "bigint" && !Number.isSafeInteger(number)) {
      const message = `The output ${JSON.stringify(name)} has ${value}, which JSON does not hold exactly; ask for it as bytes, with \`"binary_data": true\` in its \`parameters\`.`;
      throw new LorikeetError("invalid_value", message, { param: "outputs", found: String(value) });
    }
    return Number.isFinite(number) ? number : null;
  });
}
