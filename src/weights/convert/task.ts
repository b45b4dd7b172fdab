/**
 * One unit of conversion work: read stored rows, convert them, write the result to its place. Synchronous, since it runs on a
 * separate thread.
 */

import { closeSync, openSync, readSync, writeSync } from "node:fs";
import { LorikeetError } from "../../base/errors.js";
import { at } from "../../base/list.js";
import type { Rounding, WeightForm } from "../../model/weights.js";
import { bytesOf, type Dtype, viewAs } from "../../tensor/dtype.js";
import { bfloat16ToFloat32, float16ToFloat32, float32ToFloat16 } from "../../tensor/half.js";
import { elementCount } from "../../tensor/shape.js";
import { isFloat, isReferenced, type Place, type Weight } from "../layout.js";
import {
  blockCount,
  blockSize,
  dequantizeBlocks,
  dequantizeRows,
  quantizeBlocks,
  quantizeRows,
  relativeError,
  rowLimits,
  type SquaredError,
  transpose,
} from "../quantize.js";

interface Segment {
  readonly file: string;
  readonly dtype: Dtype;
  readonly offset: number;
  readonly byteLength: number;
}

export interface ConvertTask {
  readonly weight: string;
  readonly form: Exclude<WeightForm, "raw">;
  readonly segments: readonly Segment[];
  /** The shape of the segments: [rows, columns], or [columns, rows] if transposed. */
  readonly rows: number;
  readonly columns: number;
  readonly transposed: boolean;
  readonly maxRowError: number;
  /** For `int8row`: the integers lie in [-rowLimit, rowLimit]. */
  readonly rowLimit: number;
  /** First rounds the matrix as this form rounds it along its inputs, which are the rows here. */
  readonly rounded: Rounding | null;
  /** Writes scales of blocks in float16. */
  readonly halfScales: boolean;
  /** Where the result goes in the prepared file. */
  readonly dataOffset: number;
  readonly scalesOffset: number;
}

export interface ConvertResult extends SquaredError {
  readonly weight: string;
  /** The resulting form: the task's, or its fallback. */
  readonly form: WeightForm;
  /** For rows that exceeded their error bound: the squared error that they would have had. */
  readonly rowError?: number;
}

const elementsPerTask = 1 << 20;

/** Splits a weight into tasks of about a million elements. Transposed weights stay whole. */
export function tasksOf(weight: Weight, place: Place): ConvertTask[] {
  const { entry, sources, rows, columns, name } = weight;
  const { form, transposed = false, maxRowError = Number.POSITIVE_INFINITY, rowLimit = rowLimits.full } = entry;
  const { rounded = null, halfScales = false } = entry;
  if (form === "raw" || isReferenced(weight)) return [];
  const common = {
    halfScales,
    weight: name,
    form,
    transposed: transposed && !isFloat(form),
    maxRowError,
    rowLimit,
    rounded,
  };
  if (form === "int8row" || common.transposed || rounded) {
    return [{ ...common, ...place, rows, columns, segments: sources }];
  }
  const tasks: ConvertTask[] = [];
  let done = 0; // rows, over all sources
  for (const { file, dtype, shape, offset, byteLength } of sources) {
    const sourceRows = shape.length === 0 ? 1 : at(shape, 0);
    const rowBytes = sourceRows === 0 ? 0 : byteLength / sourceRows;
    const rowElements = elementCount(shape.slice(1));
    const step = Math.max(1, Math.floor(elementsPerTask / Math.max(1, rowElements)));
    for (let row = 0; row < sourceRows; row += step) {
      const count = Math.min(step, sourceRows - row);
      tasks.push({
        ...common,
        rows: count,
        columns: rowElements,
        segments: [{ file, dtype, offset: offset + row * rowBytes, byteLength: count * rowBytes }],
        dataOffset: place.dataOffset + (done + row) * rowBytesOf(form, rowElements),
        scalesOffset: place.scalesOffset + (done + row) * blockCount(rowElements) * (halfScales ? 2 : 4),
      });
    }
    done += sourceRows;
  }
  return tasks;
}

function rowBytesOf(form: WeightForm, columns: number): number {
  if (isFloat(form)) return columns * (form === "fp32" ? 4 : 2);
  return blockCount(columns) * (form === "int4" ? blockSize / 2 : blockSize);
}

/** Runs a task; `output` is a descriptor of the prepared file. Throws `model_invalid` for weights that are not finite. */
export function runTask(task: ConvertTask, output: number): ConvertResult {
  const { form } = task;
  if (isFloat(form)) {
    const values = readValues(task);
    writeAll(output, form === "fp32" ? values : narrow(task, values), task.dataOffset);
    return { weight: task.weight, form, error: 0, norm: 0 };
  }
  const { data, scales, ...result } = convert(task, valuesToQuantize(task));
  if (Number.isFinite(result.norm)) {
    writeAll(output, data, task.dataOffset);
    writeAll(output, task.halfScales ? narrow(task, scales) : scales, task.scalesOffset);
    return { weight: task.weight, ...result };
  }
  throw new LorikeetError(
    "model_invalid",
    `The tensor "${task.weight}" holds values that are not finite numbers; such a weight cannot be quantized.`,
    { param: task.weight },
  );
}

/** Throws `model_invalid` for a number that float16 does not hold. */
function narrow({ weight }: ConvertTask, values: Float32Array): Uint16Array {
  const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  if (largest < leastInfinite) return float32ToFloat16(values);
  const message = `The tensor "${weight}" holds numbers up to ${largest}, and fp16 none above 65504: use another --dtype.`;
  throw new LorikeetError("model_invalid", message, { param: weight, found: largest, allowed: 65_504 });
}

/** Rounds to infinity in float16, as all above do. */
const leastInfinite = 65_520;

type Conversion = Converted & Omit<ConvertResult, "weight">;

interface Converted<Data = Uint8Array | Int8Array> extends SquaredError {
  readonly data: Data;
  readonly scales: Float32Array;
}

function toBlocks(values: Float32Array, rows: number, columns: number, bits: 4 | 8): Converted<Uint8Array> {
  const blocks = blockCount(columns);
  const data = new Uint8Array((rows * blocks * blockSize * bits) / 8);
  const scales = new Float32Array(rows * blocks);
  return { data, scales, ...quantizeBlocks(values, rows, columns, bits, data, scales) };
}

function toRows(values: Float32Array, rows: number, columns: number, limit: number): Converted<Int8Array> {
  const data = new Int8Array(rows * columns);
  const scales = new Float32Array(rows);
  return { data, scales, ...quantizeRows(values, rows, columns, limit, data, scales) };
}

function convert({ form, rows, columns, maxRowError, rowLimit }: ConvertTask, values: Float32Array): Conversion {
  if (form !== "int8row") return { form, ...toBlocks(values, rows, columns, form === "int4" ? 4 : 8) };
  const inRows = toRows(values, rows, columns, rowLimit);
  if (!(relativeError(inRows) > maxRowError)) return { form, ...inRows };
  return { form: "int8", ...toBlocks(values, rows, columns, 8), rowError: inRows.error };
}

/** The values to quantize, [rows, columns]. */
function valuesToQuantize(task: ConvertTask): Float32Array {
  const { rows, columns, transposed, rounded } = task;
  const stored = readValues(task);
  if (!rounded) return transposed ? transpose(stored, columns, rows) : stored;
  const forwards = transposed ? stored : transpose(stored, rows, columns);
  const band = Math.max(1, Math.floor(elementsPerTask / Math.max(1, rows)));
  for (let first = 0; first < columns; first += band) {
    const part = forwards.subarray(first * rows, Math.min(columns, first + band) * rows);
    part.set(roundedValues(part, part.length / rows, rows, rounded));
  }
  return transpose(forwards, columns, rows);
}

/** The values that a product by the quantized form of `values` [rows, columns] multiplies by. */
function roundedValues(
  values: Float32Array,
  rows: number,
  columns: number,
  { form, rowLimit }: Rounding,
): Float32Array {
  if (form === "int8row") {
    const { data, scales } = toRows(values, rows, columns, rowLimit);
    return dequantizeRows(data, scales, rows, columns);
  }
  const bits = form === "int4" ? 4 : 8;
  const { data, scales } = toBlocks(values, rows, columns, bits);
  return dequantizeBlocks(data, scales, rows, columns, bits);
}

/** All segments of a task as float32, concatenated. */
function readValues({ segments, rows, columns }: ConvertTask): Float32Array {
  const values = new Float32Array(rows * columns);
  let at = 0;
  for (const segment of segments) {
    const part = toFloat32(segment.dtype, readSegment(segment));
    values.set(part, at);
    at += part.length;
  }
  return values;
}

/** F32, F16, BF16 or F64 bytes as float32. */
export function toFloat32(dtype: Dtype, bytes: Uint8Array): Float32Array {
  switch (dtype) {
    case "F32":
      return viewAs("F32", bytes);
    case "F16":
      return float16ToFloat32(viewAs("F16", bytes));
    case "BF16":
      return bfloat16ToFloat32(viewAs("BF16", bytes));
    case "F64":
      return new Float32Array(viewAs("F64", bytes));
    default:
      throw new LorikeetError("internal", `Weights of dtype ${dtype} cannot be converted.`);
  }
}

const maxBytesAtOnce = 1 << 28;

/** Reads a whole byte range. Throws `model_invalid` if the file ends before it. */
export function readSegment({ file, offset, byteLength }: Omit<Segment, "dtype">): Uint8Array {
  const bytes = new Uint8Array(byteLength);
  const descriptor = openToRead(file);
  try {
    for (let done = 0; done < byteLength; ) {
      const count = readSync(descriptor, bytes, done, Math.min(byteLength - done, maxBytesAtOnce), offset + done);
      if (count === 0) {
        throw new LorikeetError(
          "model_invalid",
          `The file ${file} ends at byte ${offset + done}; a tensor of it reaches to byte ${offset + byteLength}.`,
          { param: file, found: offset + done, allowed: offset + byteLength },
        );
      }
      done += count;
    }
  } finally {
    closeSync(descriptor);
  }
  return bytes;
}

function openToRead(file: string): number {
  try {
    return openSync(file, "r");
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new LorikeetError("model_invalid", `The file ${file} cannot be opened (${reason}).`, { param: file, cause });
  }
}

function writeAll(descriptor: number, view: ArrayBufferView, offset: number): void {
  const bytes = bytesOf(view);
  for (let done = 0; done < bytes.length; ) {
    done += writeSync(descriptor, bytes, done, Math.min(bytes.length - done, maxBytesAtOnce), offset + done);
  }
}
