/** Pads tensors with zeros along an axis. */
import { at } from "../base/list.js";
import { Tensor } from "../runtime/tensor.js";
import { elementCount } from "../tensor/shape.js";

/** Returns the tensor itself if the axis already has `size` elements. */
export function padEnd(tensor: Tensor, axis: number, size: number): Tensor {
  const { type, shape, data } = tensor;
  const length = at(shape, axis);
  if (length >= size) return tensor;
  const padded = Tensor.zeros(
    type,
    shape.map((dim, i) => (i === axis ? size : dim)),
  );
  const from = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const to = new Uint8Array(padded.data.buffer);
  const rows = elementCount(shape.slice(0, axis));
  const [step, stride] = [from.length / rows, to.length / rows];
  for (let row = 0; row < rows; row++) to.set(from.subarray(row * step, (row + 1) * step), row * stride);
  return padded;
}
