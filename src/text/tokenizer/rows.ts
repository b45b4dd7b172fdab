/**
 * Rows of text models: a text or a pair of texts, with special tokens around them, bounded by the model's length, and padded to a
 * batch.
 */

import { LorikeetError } from "../../base/errors.js";
import { at, int32At } from "../../base/list.js";
import type { PostProcessor, RowPart } from "./post-processor.js";
import type { SpanTokens } from "./span-encoder.js";

export interface TextRow {
  readonly text: string;
  readonly pair?: string | undefined;
}

/** The tokens of a row. All lists have the same length. */
export interface EncodedRow {
  readonly ids: readonly number[];
  /** token_type_ids, as the post-processor of tokenizer.json gives them. */
  readonly typeIds: readonly number[];
  /** The text that a token is from: 0, 1 for the pair, null for a special token around them. */
  readonly sources: readonly (0 | 1 | null)[];
  /** [begin, end) in that text, in characters; [0, 0] for special tokens. */
  readonly spans: readonly (readonly [begin: number, end: number])[];
  /** The number of the word in that text; null for special tokens. */
  readonly words: readonly (number | null)[];
}

export interface RowRules {
  /** null: unbounded. */
  readonly maxLength: number | null;
  /** Shortens a row that is too long from its end, the longer text of a pair first. Without it, such a row is refused. */
  readonly truncate: boolean;
  readonly addSpecialTokens: boolean;
  readonly param: string;
}

interface MutableRow {
  ids: number[];
  typeIds: number[];
  sources: (0 | 1 | null)[];
  spans: (readonly [number, number])[];
  words: (number | null)[];
}

/**
 * Joins the tokens of one or two texts.
 * @throws LorikeetError `context_length_exceeded` with both lengths, `model_unsupported` for a pair that the tokenizer cannot join.
 */
export function joinRow(texts: readonly SpanTokens[], parts: readonly RowPart[], rules: RowRules): EncodedRow {
  const used = rules.addSpecialTokens ? parts : parts.filter(({ kind }) => kind === "text");
  const added = used.reduce((sum, part) => sum + (part.kind === "special" ? part.ids.length : 0), 0);
  const lengths = boundedLengths(texts, added, rules);
  const row: MutableRow = { ids: [], typeIds: [], sources: [], spans: [], words: [] };
  for (const part of used) {
    if (part.kind === "text") addText(row, at(texts, part.source), at(lengths, part.source), part);
    else for (const id of part.ids) addToken(row, id, part.typeId, null, [0, 0], null);
  }
  return row;
}

/** The parts of a row of one or two texts. @throws LorikeetError `model_unsupported` if the tokenizer has none for a pair. */
export function partsOf({ single, pair }: PostProcessor, isPair: boolean): readonly RowPart[] {
  if (!isPair) return single;
  if (pair) return pair;
  throw new LorikeetError("model_unsupported", "The model's tokenizer does not say how a pair of texts is joined.", {
    param: "tokenizer.json",
  });
}

/** How many tokens of each text the row has. */
function boundedLengths(texts: readonly SpanTokens[], added: number, rules: RowRules): readonly number[] {
  const lengths = texts.map(({ ids }) => ids.length);
  const found = lengths.reduce((sum, length) => sum + length, added);
  const { maxLength } = rules;
  if (maxLength === null || found <= maxLength) return lengths;
  if (rules.truncate) {
    const encoded = texts.map((tokens) => lengthEncoded(tokens, maxLength));
    return truncated(encoded, Math.max(0, maxLength - added));
  }
  const what = lengths.length === 1 ? "The text has" : "The two texts have";
  throw new LorikeetError(
    "context_length_exceeded",
    `${what} ${found} tokens with special tokens; the model takes at most ${maxLength}.`,
    { param: rules.param, found, allowed: maxLength },
  );
}

/** The Rust library stops encoding at the end of the word that reaches the limit, so longer texts count as equally long. */
function lengthEncoded({ words }: SpanTokens, maxLength: number): number {
  let length = maxLength;
  while (length < words.length && words[length] === words[length - 1]) length++;
  return Math.min(length, words.length);
}

/** As the Rust library's longest_first: the longer text first, then both to half, where the longer one keeps the odd token. */
function truncated([first = 0, second]: readonly number[], room: number): readonly number[] {
  if (second === undefined) return [Math.min(first, room)];
  if (first + second <= room) return [first, second];
  const shorter = Math.min(first, second, Math.floor(room / 2));
  return first > second ? [room - shorter, shorter] : [shorter, room - shorter];
}

function addText(row: MutableRow, tokens: SpanTokens, length: number, part: { source: 0 | 1; typeId: number }): void {
  for (let i = 0; i < length; i++) {
    const span = [int32At(tokens.begins, i), int32At(tokens.ends, i)] as const;
    addToken(row, int32At(tokens.ids, i), part.typeId, part.source, span, int32At(tokens.words, i));
  }
}

function addToken(
  row: MutableRow,
  id: number,
  typeId: number,
  source: 0 | 1 | null,
  span: readonly [number, number],
  word: number | null,
): void {
  row.ids.push(id);
  row.typeIds.push(typeId);
  row.sources.push(source);
  row.spans.push(span);
  row.words.push(word);
}

/** What stands in the empty places of a batch. */
export interface Padding {
  readonly padId: number;
  readonly padTypeId: number;
  /** Rows end together instead of beginning together. */
  readonly padLeft: boolean;
}

/** A batch: three tensors [rows, length] of int64. */
export interface PaddedRows {
  readonly length: number;
  readonly inputIds: BigInt64Array<ArrayBuffer>;
  readonly attentionMask: BigInt64Array<ArrayBuffer>;
  readonly tokenTypeIds: BigInt64Array<ArrayBuffer>;
}

/** Pads rows to a length that none exceeds, by default that of the longest. */
export function padRows(
  rows: readonly Pick<EncodedRow, "ids" | "typeIds">[],
  { padId, padTypeId, padLeft }: Padding,
  length = Math.max(0, ...rows.map(({ ids }) => ids.length)),
): PaddedRows {
  const size = rows.length * length;
  const inputIds = new BigInt64Array(size).fill(BigInt(padId));
  const attentionMask = new BigInt64Array(size);
  const tokenTypeIds = new BigInt64Array(size).fill(BigInt(padTypeId));
  for (const [index, { ids, typeIds }] of rows.entries()) {
    const begin = index * length + (padLeft ? length - ids.length : 0);
    inputIds.set(ids.map(BigInt), begin);
    tokenTypeIds.set(typeIds.map(BigInt), begin);
    attentionMask.fill(1n, begin, begin + ids.length);
  }
  return { length, inputIds, attentionMask, tokenTypeIds };
}
