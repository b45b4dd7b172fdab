/** A tag for each word of a text: cross-entropy over words, accuracy and the F1 of spans. */

import { Tensor } from "../../../runtime/tensor.js";
import { type Assessment, shownAnswers } from "../assessment.js";
import { crossEntropy, lossInputs } from "../losses.js";
import { type Meter, outputOf, type TaskExample, type TaskObjective } from "../types.js";
import { LabelScores, likeliest } from "./classification.js";

/** The tag of each token of a row; null where no word begins. */
export type TokenTags = readonly (string | null)[];

const ids = "input_ids";

/** `padLeft`: rows end together. */
export function tagging(labels: readonly string[], output: string, padLeft: boolean): TaskObjective<TokenTags> {
  const indices = new Map(labels.map((label, index) => [label, index]));
  const beginOf = (tags: TokenTags, length: number): number => (padLeft ? length - tags.length : 0);
  return {
    outputs: [output],
    loss: (op, outputs) => crossEntropy(op, outputOf(outputs, output)),
    unit: "words",
    count: (tags) => tags.filter((tag) => tag !== null).length,
    async feeds(targets, rows, weight, { inputs }) {
      const length = outputOf(inputs, ids).shape[1] ?? 1;
      const places = new BigInt64Array(rows * length);
      const weights = new Float32Array(rows * length);
      for (const [row, tags] of targets.entries()) {
        for (const [i, tag] of tags.entries()) {
          if (tag === null) continue;
          const place = row * length + beginOf(tags, length) + i;
          places[place] = BigInt(indices.get(tag) ?? 0);
          weights[place] = weight;
        }
      }
      return new Map<string, Tensor>([
        [lossInputs.labels, Tensor.from("int64", [rows * length, 1], places)],
        [lossInputs.weights, Tensor.from("float32", [rows * length, 1], weights)],
      ]);
    },
    meter: () => new TagMeter(labels, output, beginOf),
  };
}

/** Shows the tags of the words of some rows. */
export function shownTags(
  labels: readonly string[],
  output: string,
  padLeft: boolean,
  describe: (example: TaskExample) => string,
): Assessment {
  const tagsOf = ({ target }: TaskExample): TokenTags => target as TokenTags;
  return shownAnswers({
    describe,
    expected: (example) =>
      tagsOf(example)
        .flatMap((tag) => tag ?? [])
        .join(" "),
    answer(outputs, row, example) {
      const { data, shape } = outputOf(outputs, output);
      const [, length = 1, width = 1] = shape;
      const tags = tagsOf(example);
      const first = row * length + (padLeft ? length - tags.length : 0);
      const found = tags.flatMap((tag, i) => {
        const scores = data.subarray((first + i) * width, (first + i + 1) * width) as Float32Array;
        return tag === null ? [] : [labels[likeliest(scores)] ?? "O"];
      });
      return found.join(" ");
    },
  });
}

class TagMeter implements Meter<TokenTags> {
  readonly #labels: readonly string[];
  readonly #output: string;
  readonly #beginOf: (tags: TokenTags, length: number) => number;
  readonly #scores: LabelScores;
  #expected = 0;
  #found = 0;
  #right = 0;

  constructor(labels: readonly string[], output: string, beginOf: (tags: TokenTags, length: number) => number) {
    this.#labels = labels;
    this.#output = output;
    this.#beginOf = beginOf;
    this.#scores = new LabelScores(labels.length);
  }

  add(outputs: ReadonlyMap<string, Tensor>, targets: readonly TokenTags[]): void {
    const { data, shape } = outputOf(outputs, this.#output);
    const [, length = 1, width = 1] = shape;
    for (const [row, tags] of targets.entries()) {
      const first = row * length + this.#beginOf(tags, length);
      const [expected, found]: [string[], string[]] = [[], []];
      for (const [i, tag] of tags.entries()) {
        if (tag === null) continue;
        const best = likeliest((data as Float32Array).subarray((first + i) * width, (first + i + 1) * width));
        this.#scores.add(this.#labels.indexOf(tag), best);
        expected.push(tag);
        found.push(this.#labels[best] ?? "O");
      }
      const [spans, guesses] = [spansOf(expected), spansOf(found)];
      this.#expected += spans.size;
      this.#found += guesses.size;
      for (const span of guesses) if (spans.has(span)) this.#right++;
    }
  }

  metrics() {
    const both = this.#expected + this.#found;
    return { accuracy: this.#scores.metrics().accuracy, span_f1: both === 0 ? 0 : (2 * this.#right) / both };
  }
}

/**
 * Spans of tags such as B-PER, I-PER and O, as seqeval counts them: a span ends where its kind changes, and an I without a B begins one.
 * Tags without B or I are spans of equal neighbours.
 */
export function spansOf(tags: readonly string[]): Set<string> {
  const spans = new Set<string>();
  let [begin, kind]: [number, string | null] = [0, null];
  for (let i = 0; i <= tags.length; i++) {
    const [, mark = "I", named = ""] = /^(?:([BI])-)?(.*)$/.exec(tags[i] ?? "O") ?? [];
    const now = i < tags.length && tags[i] !== "O" ? named : null;
    if (kind !== null && (now !== kind || mark === "B")) {
      spans.add(`${begin}-${i} ${kind}`);
      kind = null;
    }
    if (kind === null && now !== null) [begin, kind] = [i, now];
  }
  return spans;
}
