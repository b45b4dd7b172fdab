/** Evaluates a served model on rows: loss, perplexity, label accuracy and exact answers. */

import { assert } from "../base/errors.js";
import { at, float64At, zip } from "../base/list.js";
import type { Progress } from "../base/log.js";
import type { Tokenizer } from "../text/types.js";
import type { Item } from "./data/dataset.js";
import { type Encoding, encodeExample, type LabelSource, type TokenPair, type TokenRow } from "./data/encode.js";
import { countLabels, shorten } from "./data/shorten.js";
import type { Served, ServedCall } from "./served.js";

export interface LossFigures {
  readonly rows: number;
  readonly labels: number;
  /** Mean of -log p over all labels. */
  readonly loss: number;
  readonly perplexity: number;
}

/** The mean loss over the labels of rows. */
export async function evaluateLoss(served: Served, rows: readonly TokenRow[], call: ServedCall): Promise<LossFigures> {
  return meanLoss(rows, await rowLosses(served, rows, call));
}

/** The sum of -log p over each row's labels. */
export async function rowLosses(
  served: Served,
  rows: readonly TokenRow[],
  { progress, ...call }: Judged = {},
): Promise<number[]> {
  const jobs = rows.map(async (row) => lossOf(row, await served.score([...row.ids], call)));
  return allOf("scoring rows", jobs, progress);
}

/** A call that reports progress. */
export interface Judged extends ServedCall {
  readonly progress?: Progress;
}

function allOf<T>(what: string, jobs: readonly Promise<T>[], progress: Progress | undefined): Promise<T[]> {
  let done = 0;
  const reported = async (job: Promise<T>): Promise<T> => {
    const result = await job;
    progress?.(what, ++done, jobs.length);
    return result;
  };
  return Promise.all(jobs.map(reported));
}

export function meanLoss(rows: readonly TokenRow[], sums: readonly number[]): LossFigures {
  const labels = rows.reduce((sum, row) => sum + countLabels(row), 0);
  const loss = sums.reduce((a, b) => a + b, 0) / Math.max(labels, 1);
  return { rows: rows.length, labels, loss, perplexity: Math.exp(loss) };
}

function lossOf({ trained }: TokenRow, logprobs: Float64Array): number {
  let loss = 0;
  for (let i = 1; i < trained.length; i++) if (trained[i]) loss -= float64At(logprobs, i);
  return loss;
}

export interface Share {
  readonly rows: number;
  readonly right: number;
  readonly share: number;
}

/** Log-likelihoods of a pair's answers. */
export interface PairScores {
  readonly chosen: number;
  readonly rejected: number;
}

/** Scores each pair's answers; `adapter: false` uses the base model. */
export async function scorePairs(
  served: Served,
  pairs: readonly TokenPair[],
  { progress, ...call }: Judged = {},
): Promise<PairScores[]> {
  const jobs = pairs.map(async (pair): Promise<PairScores> => {
    const [chosen = 0, rejected = 0] = await rowLosses(served, pair, call);
    return { chosen: -chosen, rejected: -rejected };
  });
  return allOf("scoring pairs", jobs, progress);
}

/** Whether each pair's chosen answer is likelier or, given reference scores, has gained more. */
export function prefersChosen(scores: readonly PairScores[], reference?: readonly PairScores[]): boolean[] {
  const margin = (pair: PairScores | undefined): number => (pair ? pair.chosen - pair.rejected : 0);
  return scores.map((pair, i) => margin(pair) > margin(reference?.[i]));
}

export interface LabelOptions extends Judged {
  readonly labels: readonly string[];
  readonly encoding: Encoding;
  /** Tokens of the longest row. */
  readonly length: number;
}

/** A row's label and the likeliest one for its text. */
export interface LabelChoice {
  readonly label: string;
  readonly choice: string | undefined;
  /** Log-probability of each label with its end token. Without the end token, a label would beat any longer one that starts with it. */
  readonly scores: Readonly<Record<string, number>>;
}

/** The likeliest label of each row, by the likelihood of label and end token, as trained. */
export async function chooseLabels(
  served: Served,
  sources: readonly LabelSource[],
  options: LabelOptions,
): Promise<LabelChoice[]> {
  const jobs = sources.map(async ({ text, label }) => {
    const scores = await scoreLabels(served, text, options);
    const best = Math.max(...scores.values());
    const choice = [...scores].find(([, score]) => score === best)?.[0];
    return { label, choice, scores: Object.fromEntries(scores) };
  });
  return allOf("choosing labels", jobs, options.progress);
}

/** Log-probability of each label after a text. All follow the same prompt, shortened to fit the longest label. */
async function scoreLabels(
  served: Served,
  text: string,
  { labels, encoding, length, progress: _, ...call }: LabelOptions,
): Promise<ReadonlyMap<string, number>> {
  const place = { file: "", line: 0 };
  const rows = await Promise.all(
    labels.map(async (label) => {
      const [row] = await encodeExample({ kind: "label", text, label }, place, encoding);
      assert(row, "a text with a label has a row");
      return row;
    }),
  );
  const labelTokens = rows.map(({ ids, promptLength }) => ids.length - promptLength);
  const most = Math.max(...labelTokens);
  const scores = await Promise.all(
    rows.map(async (row, i) => {
      const short = shorten(row, length - most + at(labelTokens, i), encoding.bosId);
      return -lossOf(short, await served.score([...short.ids], call));
    }),
  );
  return new Map(zip(labels, scores));
}

export interface ExactOptions extends Judged {
  readonly tokenizer: Tokenizer;
  readonly stopIds: readonly number[];
}

/** A greedy answer and the expected one, both without trailing whitespace. */
export interface Answered {
  readonly row: TokenRow;
  readonly expected: string;
  readonly answer: string;
}

/** Greedy answers to the prompts of rows with one completion, up to the end token. */
export async function answerRows(
  served: Served,
  rows: readonly TokenRow[],
  options: ExactOptions,
): Promise<Answered[]> {
  const { tokenizer, stopIds, progress, ...call } = options;
  const jobs = rows.map(async (row) => {
    const prompt = [...row.ids.subarray(0, row.promptLength)];
    const completion = [...row.ids.subarray(row.promptLength)];
    const expected = tokenizer.decode(completion, { after: prompt }).trimEnd();
    // A few tokens more than the expected answer: a longer one is wrong anyway.
    const ids = await served.generate(prompt, completion.length + 4, stopIds, call);
    return { row, expected, answer: tokenizer.decode(ids, { after: prompt }).trimEnd() };
  });
  return allOf("answering prompts", jobs, progress);
}

export function shareOf(judged: readonly boolean[]): Share {
  const right = judged.filter(Boolean).length;
  return { rows: judged.length, right, share: right / Math.max(judged.length, 1) };
}

/** Rows with one prompt and one completion, which a greedy answer can be compared with. */
export function answerable(items: readonly Item[]): TokenRow[] {
  return items.flatMap(([row, rejected]) => (!rejected && row.promptLength > 0 && isOneSpan(row) ? [row] : []));
}

function isOneSpan({ trained, promptLength }: TokenRow): boolean {
  return trained.subarray(promptLength).every((flag) => flag === 1);
}
