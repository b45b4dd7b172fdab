/** Reads prepared weights as the float32 values that the kernels multiply by. */

import { LorikeetError } from "../../src/base/errors.js";
import { at } from "../../src/base/list.js";
import type { TensorLocation } from "../../src/model/types.js";
import type { PreparedWeight } from "../../src/model/weights.js";
import { viewAs } from "../../src/tensor/dtype.js";
import { elementCount } from "../../src/tensor/shape.js";
import { readSegment, toFloat32 } from "../../src/weights/convert/task.js";
import { isFloat } from "../../src/weights/layout.js";
import { dequantizeBlocks, dequantizeRows, transpose } from "../../src/weights/quantize.js";

/** The weight in its stored layout (`weight.shape`): float32 [out, in], or [in, out] if transposed. Synchronous. */
export function readWeight(weight: PreparedWeight): Float32Array {
  const { form, shape, transposed, data } = weight;
  const bytes = readSegment(data);
  if (form === "raw" || isFloat(form)) return toFloat32(data.dtype, bytes);
  const [one, two] = [at(shape, 0), at(shape, 1)];
  const [rows, columns] = transposed ? [two, one] : [one, two];
  const stored = scalesOf(weight);
  const scales = toFloat32(stored.dtype, readSegment(stored));
  const values =
    form === "int8row"
      ? dequantizeRows(viewAs("I8", bytes), scales, rows, columns)
      : dequantizeBlocks(bytes, scales, rows, columns, form === "int4" ? 4 : 8);
  return transposed ? transpose(values, rows, columns) : values;
}

/**
 * An `int8` or `int4` weight [rows, columns] as a table to gather rows from:
 * `GatherBlockQuantized(data, ids, scales)` with gather_axis 0, quantize_axis 1, block_size 128 and bits 8 or 4 gives
 * [..., blocks * 128], whose first `columns` are the row. Throws `internal` for other forms.
 */
export function rowTable(weight: PreparedWeight): { data: TensorLocation; scales: TensorLocation; bits: 4 | 8 } {
  const { data, form } = weight;
  if (form !== "int8" && form !== "int4") {
    throw new LorikeetError("internal", `Rows of "${weight.name}" cannot be gathered as blocks: it is ${form}.`);
  }
  const rows = at(data.shape, 0);
  const bits = form === "int8" ? 8 : 4;
  const table = { ...data, name: `${data.name}.rows`, shape: [rows, elementCount(data.shape.slice(1))] };
  return { data: table, scales: scalesOf(weight), bits };
}

function scalesOf({ name, scales }: PreparedWeight): TensorLocation {
  if (scales) return scales;
  throw new LorikeetError("internal", `The quantized weight "${name}" has no scales.`);
}
