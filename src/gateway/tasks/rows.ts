/** Rows of tensors: a request's rows apart, and their outputs together again. */

import { LorikeetError } from "../../base/errors.js";
import type { TaskData, TaskTensor } from "../../engine/task/types.js";

type Tensors = ReadonlyMap<string, TaskTensor>;

/** Each row of the first axis by itself, sharing memory. */
export function splitRows(tensors: Tensors, count: number): Tensors[] {
  return Array.from({ length: count }, (_, row) => {
    return new Map([...tensors].map(([name, tensor]) => [name, rowOf(tensor, row, count)] as const));
  });
}

function rowOf({ type, shape, data }: TaskTensor, row: number, count: number): TaskTensor {
  const size = data.length / count;
  return { type, shape: [1, ...shape.slice(1)], data: data.subarray(row * size, (row + 1) * size) };
}

/** Outputs of rows, joined along the first axis. Throws `invalid_value` where their sizes differ. */
export function joinRows(rows: readonly Tensors[]): Tensors {
  const [first] = rows;
  if (!first || rows.length === 1) return first ?? new Map();
  return new Map(
    [...first].map(([name, tensor]) => [
      name,
      joined(
        name,
        tensor,
        rows.map((row) => row.get(name) as TaskTensor),
      ),
    ]),
  );
}

function joined(name: string, { type, shape, data }: TaskTensor, rows: readonly TaskTensor[]): TaskTensor {
  const other = rows.find((row) => row.shape.join() !== shape.join());
  if (other) {
    const message = `The output ${JSON.stringify(name)} has the sizes [${shape.join(", ")}] for one row and [${other.shape.join(", ")}] for another; send such rows in requests of their own.`;
    throw new LorikeetError("invalid_value", message, { param: "inputs" });
  }
  const all = new (data.constructor as new (length: number) => TaskData)(data.length * rows.length);
  for (const [row, part] of rows.entries()) put(all, part.data, row * data.length);
  return { type, shape: [rows.length, ...shape.slice(1)], data: all };
}

/** Rows of one output have one element type. */
function put(to: TaskData, from: TaskData, at: number): void {
  if (to instanceof BigInt64Array) to.set(from as BigInt64Array, at);
  else to.set(from as Exclude<TaskData, BigInt64Array>, at);
}
