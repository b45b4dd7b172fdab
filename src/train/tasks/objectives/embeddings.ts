/** Embeddings of texts: from pairs and triples, whose anchor should be closest to its positive, and from pairs with scores. */

import { at } from "../../../base/list.js";
import type { Ops } from "../../../graph/ops.js";
import type { Value } from "../../../graph/types.js";
import type { PlainPooling } from "../../../model/task/sentence-modules.js";
import { Tensor } from "../../../runtime/tensor.js";
import { type Assessment, chooseShown, shownAnswers, spread } from "../assessment.js";
import { contrastive, cosines, lossInputs, squaredError } from "../losses.js";
import { spearman } from "../metrics/spearman.js";
import { type Meter, outputOf, type TaskExample, type TaskObjective } from "../types.js";
import { labelFeeds } from "./classification.js";
import { valueFeeds } from "./policy.js";

export interface EmbeddingShape {
  /** The model's output: vectors of texts [rows, width], or of tokens [rows, length, width]. */
  readonly output: string;
  /** How tokens become one vector; null: the output has whole vectors. */
  readonly pooling: PlainPooling | null;
  /** Candidates of a row: its positive, and perhaps a negative. */
  readonly candidates: number;
}

/** Sharpens cosines, as sentence-transformers' MultipleNegativesRankingLoss does. */
const scale = 20;
/** Added to the similarity with padding rows. */
const hidden = -1e9;

const mask = "attention_mask";

/** Each anchor should be closest to its own positive among all candidates of the batch. */
export function embeddings(shape: EmbeddingShape): TaskObjective<null> {
  const { output, pooling, candidates } = shape;
  return {
    outputs: [output],
    inputs: pooling === null ? [] : [mask],
    loss(op, outputs, inputs) {
      const vectors = vectorsOf(op, outputOf(outputs, output), pooling, inputs);
      const rows = Number(vectors.shape[0]) / (1 + candidates);
      const anchors = op.slice(vectors, 0, 0, rows);
      return contrastive(op, anchors, op.slice(vectors, 0, rows, rows * (1 + candidates)), scale);
    },
    count: () => 1,
    async feeds(targets, rows, weight) {
      const labels = labelFeeds(
        targets.map((_, row) => row),
        rows,
        weight,
      );
      const columns = Float32Array.from({ length: rows * candidates }, (_, i) =>
        i % rows < targets.length ? 0 : hidden,
      );
      return labels.set(lossInputs.hidden, Tensor.from("float32", [1, columns.length], columns));
    },
    meter: () => new NearestMeter(shape),
  };
}

/** The cosine of two texts moves to the pair's score, from -1 to 1, by the squared error: sentence-transformers' CosineSimilarityLoss. */
export function scoredPairs({ output, pooling }: Omit<EmbeddingShape, "candidates">): TaskObjective<number> {
  return {
    outputs: [output],
    inputs: pooling === null ? [] : [mask],
    loss(op, outputs, inputs) {
      const vectors = vectorsOf(op, outputOf(outputs, output), pooling, inputs);
      const rows = Number(vectors.shape[0]) / 2;
      return squaredError(op, cosines(op, op.slice(vectors, 0, 0, rows), op.slice(vectors, 0, rows, 2 * rows)));
    },
    count: () => 1,
    async feeds(targets, rows, weight) {
      const scores = targets.map((score) => Float32Array.of(score));
      return valueFeeds(scores, rows, weight);
    },
    meter: () => new CosineMeter(output, pooling),
  };
}

function vectorsOf(op: Ops, tokens: Value, pooling: PlainPooling | null, inputs: ReadonlyMap<string, Value>): Value {
  if (pooling === null) return tokens;
  const [rows = 1, length = 1] = tokens.shape.map(Number);
  const seen = op.reshape(op.cast(outputOf(inputs, mask), "float32"), [rows, length, 1]);
  switch (pooling) {
    case "mean":
      return op.div(
        op.sum(op.mul(tokens, seen), [1], false),
        op.binary("Max", op.sum(seen, [1], false), op.like(seen, 1)),
      );
    case "cls":
      return op.squeeze(op.slice(tokens, 1, 0, 1), 1);
    case "max":
      return op.reduce("ReduceMax", op.add(tokens, op.scale(op.sub(seen, op.like(seen, 1)), -hidden)), [1], false);
    case "last":
      return op.sum(op.mul(tokens, lastTokens(op, seen, rows, length)), [1], false);
  }
}

/** 1 at each row's last token: where no token follows. */
function lastTokens(op: Ops, seen: Value, rows: number, length: number): Value {
  if (length === 1) return seen;
  const none = op.builder.constant("float32", [rows, 1, 1], new Array(rows).fill(0));
  const following = op.concat([op.slice(seen, 1, 1, length), none], 1);
  return op.mul(seen, op.sub(op.like(seen, 1), following));
}

/** How often an anchor's own positive is the closest candidate of its batch. */
class NearestMeter implements Meter<null> {
  readonly #shape: EmbeddingShape;
  #right = 0;
  #count = 0;

  constructor(shape: EmbeddingShape) {
    this.#shape = shape;
  }

  add(outputs: ReadonlyMap<string, Tensor>, targets: readonly null[], inputs: ReadonlyMap<string, Tensor>): void {
    const { output, pooling, candidates } = this.#shape;
    const vectors = pooledRows(outputOf(outputs, output), pooling, inputs.get(mask));
    for (const row of targets.keys()) {
      if (nearest(vectors, row, targets.length, candidates) === row) this.#right++;
      this.#count++;
    }
  }

  metrics() {
    return { accuracy: this.#right / Math.max(this.#count, 1) };
  }
}

/** How alike the orders of the pairs by their cosines and by their scores are. */
class CosineMeter implements Meter<number> {
  readonly #output: string;
  readonly #pooling: PlainPooling | null;
  readonly #cosines: number[] = [];
  readonly #scores: number[] = [];

  constructor(output: string, pooling: PlainPooling | null) {
    [this.#output, this.#pooling] = [output, pooling];
  }

  add(outputs: ReadonlyMap<string, Tensor>, targets: readonly number[], inputs: ReadonlyMap<string, Tensor>): void {
    const vectors = pooledRows(outputOf(outputs, this.#output), this.#pooling, inputs.get(mask));
    const rows = vectors.length / 2;
    for (const [row, score] of targets.entries()) {
      this.#cosines.push(cosine(vectors[row] as Float32Array, vectors[rows + row] as Float32Array));
      this.#scores.push(score);
    }
  }

  metrics() {
    return { spearman: spearman(this.#cosines, this.#scores) };
  }
}

/** Shows the text that is closest to the anchor of some rows, among the candidates of a batch. `text`: of a row's part. */
export function shownNearest(shape: EmbeddingShape, text: (example: TaskExample, part: number) => string): Assessment {
  const { output, pooling, candidates } = shape;
  return {
    runs: () => 1,
    async assess(examples, { predict, batchSize }) {
      const rows = spread(examples, batchSize);
      const outputs = await predict(rows.map(({ source }) => source));
      const vectors = pooledRows(outputOf(outputs, output), pooling, outputs.get(mask));
      const samples = rows.map((example, row) => {
        const best = nearest(vectors, row, rows.length, candidates);
        const [column, part] = [best % batchSize, 1 + Math.floor(best / batchSize)];
        return { prompt: text(example, 0), expected: text(example, 1), answer: text(at(rows, column), part) };
      });
      return { metrics: {}, samples: chooseShown(samples) };
    },
  };
}

/** Shows the cosines of some pairs. `describe`: the pair. */
export function shownCosines(
  { output, pooling }: Omit<EmbeddingShape, "candidates">,
  describe: (example: TaskExample) => string,
): Assessment {
  return shownAnswers({
    describe,
    answer(outputs, row) {
      const vectors = pooledRows(outputOf(outputs, output), pooling, outputs.get(mask));
      return cosine(at(vectors, row), at(vectors, vectors.length / 2 + row)).toFixed(2);
    },
  });
}

/** The candidate closest to a row's anchor. `vectors`: anchors, then each candidate of all rows; rows from `count` on are padding. */
function nearest(vectors: readonly Float32Array[], row: number, count: number, candidates: number): number {
  const rows = vectors.length / (1 + candidates);
  let [best, most] = [-1, Number.NEGATIVE_INFINITY];
  for (let i = 0; i < rows * candidates; i++) {
    if (i % rows >= count) continue;
    const similarity = cosine(at(vectors, row), at(vectors, rows + i));
    if (similarity > most) [best, most] = [i, similarity];
  }
  return best;
}

function pooledRows({ data, shape }: Tensor, pooling: PlainPooling | null, seen: Tensor | undefined): Float32Array[] {
  const values = data as Float32Array;
  const [rows = 0, length = 1] = shape;
  const width = Number(shape.at(-1));
  return Array.from({ length: rows }, (_, row) => {
    if (pooling === null) return values.subarray(row * width, (row + 1) * width);
    const tokens = Array.from({ length }, (_, i) => i).filter((i) => Number(seen?.data[row * length + i] ?? 1) !== 0);
    const chosen = pooling === "cls" ? [0] : pooling === "last" ? tokens.slice(-1) : tokens;
    const vector = new Float32Array(width).fill(pooling === "max" ? Number.NEGATIVE_INFINITY : 0);
    for (const token of chosen) {
      for (let i = 0; i < width; i++) {
        const value = values[(row * length + token) * width + i] as number;
        vector[i] = pooling === "max" ? Math.max(vector[i] as number, value) : (vector[i] as number) + value;
      }
    }
    return vector; // a mean's length does not matter to a cosine
  });
}

function cosine(a: Float32Array, b: Float32Array): number {
  let [product, first, second] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    const [x, y] = [a[i] as number, b[i] as number];
    product += x * y;
    first += x * x;
    second += y * y;
  }
  return product / Math.sqrt(first * second || 1);
}
