/** Checks tensors against a task model's inputs before they wait: whatever reaches ONNX Runtime has the right names, types and sizes. */

import { LorikeetError } from "../../base/errors.js";
import type { TaskPort, TaskSignature, TaskTensor } from "../../engine/task/types.js";
import { type Fault, faultsError, invalid, shorten } from "../body/parse.js";

export interface InputBounds {
  /** Rows of one request. */
  readonly maxRows: number;
  /** Tokens of one row that the model has positions for; null: not known. */
  readonly maxLength: number | null;
}

/**
 * The number of rows; null for a model that runs one request at a time. Throws `invalid_value` with every fault.
 */
export function checkInputs(
  inputs: ReadonlyMap<string, TaskTensor>,
  signature: TaskSignature,
  { maxRows, maxLength }: InputBounds,
): number | null {
  const known = new Map(signature.inputs.map((port) => [port.name, port]));
  const missing = signature.inputs.filter(({ name }) => !inputs.has(name));
  const unknown = [...inputs.keys()].filter((name) => !known.has(name));
  const faults: Fault[] = [
    ...missing.map((port) => invalid("inputs", `lacks ${shown(port)}`)),
    ...unknown.map((name) =>
      invalid("inputs", `has ${quoted(name)}; the model takes ${[...known.keys()].map(quoted).join(", ")}`),
    ),
  ];
  const sizes = new Map<string, { readonly size: number; readonly of: string }>();
  for (const port of signature.inputs) {
    const tensor = inputs.get(port.name);
    if (!tensor) continue;
    const fault = faultOf(tensor, port, signature.isBatched, sizes);
    if (fault) faults.push(fault);
  }
  if (faults.length > 0) throw faultsError(faults);
  const length = inputs.get("input_ids")?.shape[1] ?? 0;
  if (maxLength !== null && length > maxLength) {
    const message = `The input has ${length} tokens; the model takes at most ${maxLength}.`;
    throw new LorikeetError("context_length_exceeded", message, {
      ...{ param: "inputs", found: length, allowed: maxLength },
    });
  }
  if (!signature.isBatched) return null;
  const [first] = inputs.values();
  const rows = first?.shape[0] ?? 0;
  const uneven = [...inputs].find(([, { shape }]) => shape[0] !== rows);
  if (uneven) {
    throw faultsError([invalid("inputs", `has ${rows} rows and, in ${quoted(uneven[0])}, ${uneven[1].shape[0]}`)]);
  }
  if (rows < 1 || rows > maxRows) throw tooManyRows(rows, maxRows);
  return rows;
}

export function tooManyRows(found: number, allowed: number): LorikeetError {
  const message = `The request has ${found} rows; 1 to ${allowed} are allowed (--max-sequences).`;
  return new LorikeetError("invalid_value", message, { param: "inputs", found, allowed });
}

/** `sizes`: of axes with a name, as the first input has them. */
function faultOf(
  { type, shape, data }: TaskTensor,
  port: TaskPort,
  isBatched: boolean,
  sizes: Map<string, { readonly size: number; readonly of: string }>,
): Fault | null {
  const of = `of ${quoted(port.name)}`;
  if (type !== port.type) return invalid("inputs", `has the type ${type} ${of}; ${port.type} is allowed`);
  if (port.shape) {
    const isFitting =
      shape.length === port.shape.length &&
      port.shape.every((size, axis) => typeof size === "string" || size === shape[axis]);
    if (!isFitting) return invalid("inputs", `has the shape [${shape.join(", ")}] ${of}; ${shown(port)} is allowed`);
    for (const [axis, name] of port.shape.entries()) {
      if (typeof name !== "string") continue;
      const size = shape[axis] ?? 0;
      // No rows at all are refused as such.
      if (size === 0 && !(isBatched && axis === 0)) {
        return invalid("inputs", `has the size 0 as ${name} ${of}; sizes from 1 are allowed`);
      }
      const known = sizes.get(name);
      if (known && known.size !== size) {
        return invalid("inputs", `has ${size} as ${name} ${of}, and ${known.size} in ${quoted(known.of)}`);
      }
      sizes.set(name, { size, of: port.name });
    }
  }
  const { limit } = port;
  if (limit === null) return null;
  for (const id of data) {
    if (id >= 0 && id < limit) continue;
    return invalid("inputs", `has the id ${id} in ${quoted(port.name)}; 0 to ${limit - 1} are allowed`);
  }
  return null;
}

const quoted = (name: string): string => JSON.stringify(shorten(name));

const shown = ({ name, type, shape }: TaskPort): string =>
  `${quoted(name)}, ${type} ${shape ? `[${shape.join(", ")}]` : "of any shape"}`;
