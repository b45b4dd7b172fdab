/**
 * The likeliest token of each row in a form that a card finds fast: its kernel for the largest of a row runs one thread for a row, which
 * takes milliseconds for a whole vocabulary. So the vocabulary is cut into chunks, whose largest logits the host compares.
 */
import { at, float32At } from "../../base/list.js";
import type { Ops } from "../../graph/ops.js";
import type { Value } from "../../graph/types.js";

/** float32 [rows, `likeliestWidth`]: each chunk's largest logit, where that lies in its chunk, and the sum of the row's logits. */
export const likeliest = "likeliest";

/** About as many chunks as a chunk has logits. A vocabulary of a prime number of tokens is one chunk. */
export function chunkCount(vocabSize: number): number {
  let chunks = 1;
  for (let divisor = 1; divisor * divisor <= vocabSize; divisor++) if (vocabSize % divisor === 0) chunks = divisor;
  // One of both factors is the number of chunks: the larger one, for many short loops, unless most of the work were then the host's.
  const larger = vocabSize / chunks;
  return larger <= mostChunks ? larger : chunks;
}

const mostChunks = 4096;

export const likeliestWidth = (vocabSize: number): number => 2 * chunkCount(vocabSize) + 1;

/** `logits` [rows, vocabSize]; positions in a chunk are exact as floats. */
export function buildLikeliest(op: Ops, logits: Value, vocabSize: number): Value {
  const rows = at(logits.shape, 0);
  const chunks = chunkCount(vocabSize);
  const x = op.cast(logits, "float32");
  const cut = op.reshape(x, [rows, chunks, vocabSize / chunks]);
  const largest = op.reduce("ReduceMax", cut, [2], false);
  const found = op.one("ArgMax", [cut], "int64", [rows, chunks], { axis: 2, keepdims: 0 });
  const sum = op.reduce("ReduceSum", x, [1]);
  const inputs = [largest, op.cast(found, "float32"), sum];
  const spec = { type: "float32" as const, shape: [rows, likeliestWidth(vocabSize)], name: likeliest };
  return at(op.builder.node("Concat", inputs, [spec], { axis: 1 }), 0);
}

/** The token with the largest logit of each row, the first of several; null if a row has a logit that is not finite, where a comparison may find any. */
export function readLikeliest(found: Float32Array, vocabSize: number): number[] | null {
  const width = likeliestWidth(vocabSize);
  const chunks = chunkCount(vocabSize);
  const tokens: number[] = [];
  for (let start = 0; start < found.length; start += width) {
    if (!Number.isFinite(found[start + 2 * chunks])) return null;
    let best = 0;
    for (let chunk = 1; chunk < chunks; chunk++) {
      if (float32At(found, start + chunk) > float32At(found, start + best)) best = chunk;
    }
    tokens.push(best * (vocabSize / chunks) + float32At(found, start + chunks + best));
  }
  return tokens;
}
