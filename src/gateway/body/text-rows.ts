/** Rows of one text, or of two that the model reads together, in the spellings of the protocols that take them. */

import * as v from "valibot";
import { isObject } from "../../base/json.js";
import type { TextRow } from "../../text/tokenizer/rows.js";
import type { TextPair } from "../tasks/text-tasks.js";
import { objectRule } from "./field-kinds.js";
import { describe, Found } from "./parse.js";
import { type TextBounds, textInputsField } from "./text-inputs.js";

export interface TextRows {
  readonly rows: readonly TextRow[];
  /** Whether there was one row, not a list. */
  readonly isSingle: boolean;
}

/** How a protocol writes rows; a description of what is wrong otherwise. */
export interface RowsForm {
  readonly rule: string;
  read(value: unknown): TextRows | Found;
}

const isText = (value: unknown): value is string => typeof value === "string";

/** TEI's: a text, a pair `["a", "b"]`, or a list of `["a"]` and `["a", "b"]`. */
export const listedRows: RowsForm = {
  rule: "a text, a pair of texts or a list of lists of one or two texts",
  read(value) {
    if (isText(value)) return { rows: [{ text: value }], isSingle: true };
    if (!Array.isArray(value) || value.length === 0) return new Found(describe(value));
    const single = value.every(isText) ? rowOfTexts(value) : null;
    if (single) return single instanceof Found ? single : { rows: [single], isSingle: true };
    return rowsOf(value, rowOfTexts);
  },
};

/** Hugging Face's: a text, `{"text", "text_pair"}`, or a list of them. */
export const pairedRows: RowsForm = {
  rule: "a text, an object with text and text_pair, or a list of them",
  read(value) {
    if (Array.isArray(value) && value.length > 0) return rowsOf(value, rowOfPair);
    const row = rowOfPair(value);
    return row instanceof Found ? row : { rows: [row], isSingle: true };
  },
};

function rowsOf(items: readonly unknown[], read: (item: unknown) => TextRow | Found): TextRows | Found {
  const rows: TextRow[] = [];
  for (const [index, item] of items.entries()) {
    const row = read(item);
    if (row instanceof Found) return new Found(`${row.text} at position ${index}`);
    rows.push(row);
  }
  return { rows, isSingle: false };
}

function rowOfTexts(value: unknown): TextRow | Found {
  if (!Array.isArray(value) || value.length < 1 || value.length > 2 || !value.every(isText)) {
    return new Found(describe(value));
  }
  const [text = "", pair] = value;
  return pair === undefined ? { text } : { text, pair };
}

function rowOfPair(value: unknown): TextRow | Found {
  if (isText(value)) return { text: value };
  const { text, text_pair: pair, ...others } = isObject(value) ? value : {};
  if (!isText(text) || Object.keys(others).length > 0) return new Found(describe(value));
  if (pair === undefined || pair === null) return { text };
  return isText(pair) ? { text, pair } : new Found(describe(value));
}

export function textRowsField({ maxSequences }: Pick<TextBounds, "maxSequences">, form: RowsForm) {
  const rule = `must be ${form.rule}; at most ${maxSequences} rows, no text empty`;
  return v.pipe(
    v.unknown(),
    v.rawTransform<unknown, TextRows>(({ dataset, addIssue, NEVER }) => {
      const found = form.read(dataset.value);
      const fault = found instanceof Found ? found : faultOf(found);
      if (fault === null && !(found instanceof Found)) return found;
      addIssue({ message: rule, input: fault });
      return NEVER;
    }),
  );

  function faultOf({ rows }: TextRows): Found | null {
    if (rows.length > maxSequences) return new Found(`${rows.length} rows`);
    const texts = rows.flatMap(({ text, pair }) => (pair === undefined ? [text] : [text, pair]));
    const wrong = texts.find((text) => text.length === 0);
    return wrong === undefined ? null : new Found(describe(wrong));
  }
}

/** A sentence and others, each of which is compared with it. */
export function sentencesField(bounds: TextBounds) {
  const entries = {
    source_sentence: textInputsField({ ...bounds, maxSequences: 1 }, false),
    sentences: textInputsField(bounds, false),
  };
  return v.pipe(
    v.object(entries, objectRule("must be an object with source_sentence and sentences")),
    v.transform(({ source_sentence: [text], sentences }): TextPair[] =>
      sentences.map((pair) => ({ text: String(text), pair: String(pair) })),
    ),
  );
}
