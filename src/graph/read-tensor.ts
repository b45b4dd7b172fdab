/** Tensors of an ONNX file. Sizes are compared with the bytes that are there before anything is allocated for a tensor. */

import { type TensorProto, TensorProto_DataLocation, TensorProto_DataType } from "../onnx/codec.js";
import { elementCount } from "../tensor/shape.js";
import type { LocateExternal } from "./external.js";
import { type OnnxFault, quoted } from "./onnx-fault.js";
import { dataType } from "./serialize.js";
import { type ElementType, elementBytes, type InitializerData } from "./types.js";

export interface ReadTensor {
  readonly type: ElementType;
  readonly shape: readonly number[];
  readonly data: InitializerData;
}

const elementTypes = new Map<number, ElementType>(
  (Object.entries(dataType) as [ElementType, TensorProto_DataType][]).map(([type, code]) => [code, type]),
);

const maxAxes = 32;
/** Far above any file, and far below where numbers lose units. */
const maxElements = 2 ** 45;

/** The element type of a code of TensorProto.DataType. `what` names its owner in the error. */
export function elementTypeOf(code: number, what: string, fault: OnnxFault): ElementType {
  const type = elementTypes.get(code);
  if (type) return type;
  const name = TensorProto_DataType[code] ?? String(code);
  throw fault.unsupported(
    `gives ${what} the element type ${name}; ${[...elementTypes.values()].join(", ")} are allowed`,
  );
}

/** Checks a tensor's sizes against its bytes, and views or locates them. `what` names it in errors, such as `tensor "w"`. */
export function readTensor(proto: TensorProto, what: string, locate: LocateExternal, fault: OnnxFault): ReadTensor {
  const type = elementTypeOf(proto.dataType, what, fault);
  if (proto.segment) throw fault.unsupported(`stores ${what} in segments; whole tensors are allowed`);
  const shape = sizesOf(proto.dims, what, fault);
  const count = elementCount(shape);
  if (count > maxElements)
    throw fault.invalid(`gives ${what} the sizes [${shape.join(", ")}], more than any file holds`);
  const byteLength = count * elementBytes[type];
  if (proto.dataLocation === TensorProto_DataLocation.EXTERNAL) {
    return { type, shape, data: placeOf(proto, byteLength, what, locate, fault) };
  }
  return {
    type,
    shape,
    data: { kind: "inline", bytes: bytesOf(proto, type, { shape, count, byteLength }, what, fault) },
  };
}

function sizesOf(dims: readonly bigint[], what: string, fault: OnnxFault): number[] {
  if (dims.length > maxAxes) throw fault.invalid(`gives ${what} ${dims.length} axes; at most ${maxAxes} are allowed`);
  return dims.map((size) => {
    if (size >= 0n && size <= BigInt(maxElements)) return Number(size);
    throw fault.invalid(`gives ${what} a size of ${size}; 0 to ${maxElements} are allowed`);
  });
}

interface Extent {
  readonly shape: readonly number[];
  readonly count: number;
  readonly byteLength: number;
}

function bytesOf(proto: TensorProto, type: ElementType, extent: Extent, what: string, fault: OnnxFault): Uint8Array {
  const { rawData } = proto;
  const { shape, count, byteLength } = extent;
  if (rawData.length > 0) {
    // A copy is aligned, and does not keep the whole file in memory.
    if (rawData.length === byteLength) return Uint8Array.from(rawData);
    throw fault.invalid(
      `gives ${what} the sizes [${shape.join(", ")}], which take ${byteLength} bytes as ${type}, and ${rawData.length} bytes of data`,
    );
  }
  const list = listOf(proto, type);
  if (list.length !== count) {
    throw fault.invalid(
      `gives ${what} the sizes [${shape.join(", ")}], which are ${count} elements, and data of ${list.length}`,
    );
  }
  const view = packed(list, type);
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

/** The field that holds a type's elements where they are not raw bytes. */
function listOf(proto: TensorProto, type: ElementType): readonly number[] | readonly bigint[] {
  if (type === "float32") return proto.floatData;
  if (type === "float64") return proto.doubleData;
  return type === "int64" ? proto.int64Data : proto.int32Data;
}

function packed(list: readonly number[] | readonly bigint[], type: ElementType): ArrayBufferView {
  if (type === "int64") return BigInt64Array.from(list as readonly bigint[]);
  const numbers = list as readonly number[];
  switch (type) {
    case "float32":
      return Float32Array.from(numbers);
    case "float64":
      return Float64Array.from(numbers);
    case "int32":
      return Int32Array.from(numbers);
    case "int8":
      return Int8Array.from(numbers);
    case "float16":
    case "bfloat16":
      return Uint16Array.from(numbers);
    default:
      return Uint8Array.from(numbers);
  }
}

function placeOf(
  proto: TensorProto,
  byteLength: number,
  what: string,
  locate: LocateExternal,
  fault: OnnxFault,
): InitializerData {
  const entries = new Map(proto.externalData.map(({ key, value }) => [key, value]));
  const external = locate(entries.get("location") ?? "", proto.name);
  const offset = numberOf(entries.get("offset") ?? "0", "offset", what, fault);
  const length = numberOf(entries.get("length") ?? String(byteLength), "length", what, fault);
  if (length !== byteLength) {
    throw fault.invalid(`gives ${what} ${length} bytes of external data; its sizes and type take ${byteLength}`);
  }
  if (offset + byteLength > external.byteLength) {
    throw fault.invalid(
      `keeps ${what} in bytes ${offset} to ${offset + byteLength} of ${quoted(entries.get("location") ?? "")}, which has ${external.byteLength}`,
    );
  }
  return { kind: "external", file: external.file, offset, byteLength };
}

function numberOf(text: string, key: string, what: string, fault: OnnxFault): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw fault.invalid(`gives the external data of ${what} the ${key} ${quoted(text)}; a count of bytes is allowed`);
}
