/** Keys and values of rows with texts of different lengths: each text lies at the right end of one of few lengths, chosen by its own alone. */

import { assert } from "../../base/errors.js";
import { pastMask, rowPositions } from "../../model/task/ragged-step.js";
import type { TaskTensor } from "../task/types.js";

const leastLength = 16;

function paddedLength(tokens: number): number {
  let length = leastLength;
  while (length < tokens) length *= 2;
  return length;
}

/** Keys or values [1, heads, tokens, size] of a text, of which the last `kept` count, at the right end of a padded length. */
export function padded({ type, shape, data }: TaskTensor, kept: number): TaskTensor {
  assert(data instanceof Float32Array && shape.length === 4, "keys and values are float32 [rows, heads, tokens, size]");
  const [, heads = 0, tokens = 0, size = 0] = shape;
  const length = paddedLength(kept);
  const out = new Float32Array(heads * length * size);
  for (let head = 0; head < heads; head++) {
    const from = data.subarray((head * tokens + tokens - kept) * size, (head + 1) * tokens * size);
    out.set(from, (head * length + length - kept) * size);
  }
  return { type, shape: [1, heads, length, size], data: out };
}

/** What tells the graph where a row's text of so many tokens begins. */
export function layoutInputs(tokens: number): readonly (readonly [string, TaskTensor])[] {
  const length = paddedLength(tokens);
  const mask = new Float32Array(length + 1).fill(Number.NEGATIVE_INFINITY, 0, length - tokens);
  return [
    [pastMask, { type: "float32", shape: [1, 1, 1, length + 1], data: mask }],
    [rowPositions, { type: "int64", shape: [1, 1], data: BigInt64Array.of(BigInt(tokens)) }],
  ];
}
