/** How well two texts fit: a cross-encoder's one label for both together, or the cosine of their vectors. */

import type { InferAnswer } from "./inference.js";
import type { TextPair, TextTasks, TextToRead, TokenizedRequest } from "./text-tasks.js";

const isPair = (text: TextToRead): boolean => typeof text === "object" && "pair" in text;

/** One score for each pair, of an answer to the rows of `TextTasks.compare`. `activates`: false leaves those of a cross-encoder as it computes them. */
export function scoresOf(
  tasks: TextTasks,
  pairs: readonly TextPair[],
  found: InferAnswer,
  request: TokenizedRequest,
  activates = true,
): number[] {
  const { texts } = request;
  if (texts.some(isPair)) return tasks.classify(found, activates).map(({ scores }) => scores[0] ?? 0);
  const vectors = tasks.embed(found, request);
  const byText = new Map(texts.map((text, index) => [text, vectors[index] ?? new Float32Array()] as const));
  return pairs.map(({ text, pair }) => cosine(byText.get(text), byText.get(pair)));
}

/** Scores with their positions, best first. */
export function ranked(scores: readonly number[]): { readonly score: number; readonly index: number }[] {
  return scores.map((score, index) => ({ score, index })).sort((a, b) => b.score - a.score || a.index - b.index);
}

function cosine(a: Float32Array | undefined, b: Float32Array | undefined): number {
  if (!a || !b) return 0;
  let [product, left, right] = [0, 0, 0];
  for (const [i, x] of a.entries()) {
    const y = b[i] ?? 0;
    product += x * y;
    left += x * x;
    right += y * y;
  }
  return left * right > 0 ? product / Math.sqrt(left * right) : 0;
}
