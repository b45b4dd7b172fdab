/** Tensors filled up with zeros along one axis. Knows not what they are. */
import { Tensor } from "../runtime/tensor.js";

/** The tensor itself, or where the axis is shorter than `size` a copy that ends in zeros there. */
export function fillUp(tensor: Tensor, axis: number, size: number): Tensor {
  const { type, shape, data } = tensor;
  const length = shape[axis] ?? size;
  if (length >= size) return tensor;
  const filled = Tensor.zeros(
    type,
    shape.map((dim, i) => (i === axis ? size : dim)),
  );
  const from = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const to = new Uint8Array(filled.data.buffer);
  const rows = shape.slice(0, axis).reduce((a, b) => a * b, 1);
  const [step, stride] = [from.length / rows, to.length / rows];
  for (let row = 0; row < rows; row++) to.set(from.subarray(row * step, (row + 1) * step), row * stride);
  return filled;
}
