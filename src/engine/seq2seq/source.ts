/** Sources as the graphs take them. */

import { LorikeetError } from "../../base/errors.js";
import type { Graph } from "../../graph/types.js";
import type { TaskTensor } from "../task/types.js";

/** Sources are padded to one of few lengths, by their own alone, so that rows of similar lengths run together. */
const leastLength = 16;

export function sourceLength(tokens: number, maxSource: number): number {
  let length = leastLength;
  while (length < tokens) length *= 2;
  return Math.max(tokens, Math.min(length, maxSource));
}

/** One row of integers in the type of a graph's input. Throws `model_unsupported` for an input of another type. */
export function idsTensor({ inputs }: Graph, name: string, values: readonly number[]): TaskTensor {
  const type = inputs.find((input) => input.name === name)?.type;
  const shape = [1, values.length];
  if (type === "int64") return { type, shape, data: BigInt64Array.from(values, BigInt) };
  if (type === "int32") return { type, shape, data: Int32Array.from(values) };
  throw new LorikeetError(
    "model_unsupported",
    `The model's input ${name} has the type ${type}; int64 and int32 are allowed.`,
    {
      param: name,
      found: type,
      allowed: ["int64", "int32"],
    },
  );
}
