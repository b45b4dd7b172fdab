/**
 * The beginning of a long text whose first tokens are those of the whole text. What a tokenizer makes of a place depends on its
 * surroundings: the word, its combining marks, an added token that begins there. So a token counts only if its word ends well before the
 * cut, with the end of another word between: white space, or any word of a pre-tokenizer that looks at single characters.
 */

import type { Json } from "../../base/json.js";
import { int32At } from "../../base/list.js";
import { characterCount } from "../characters.js";
import { asList, asRecord, asString } from "../json.js";
import type { AddedToken } from "./definition.js";
import type { SpanTokens } from "./span-encoder.js";

/** No longer than this, in UTF-16 code units, are the surroundings of a place without white space. */
const surroundings = 256;

/** What must lie between a token and the cut. */
export const marginOf = (added: readonly AddedToken[]): number =>
  surroundings + 4 * added.reduce((most, { content }) => Math.max(most, content.length), 0);

const localSplits = [
  ...["BertPreTokenizer", "ByteLevel", "CharDelimiterSplit", "Digits", "Metaspace", "Punctuation", "Whitespace"],
  "WhitespaceSplit",
];

/** Whether where a word ends depends on the characters around its end alone. */
export function splitsLocally(preTokenizer: Json | null): boolean {
  if (preTokenizer?.type === "Sequence") {
    const steps = asList(preTokenizer.pretokenizers).map(asRecord);
    return steps.length > 0 && steps.every(splitsLocally);
  }
  return localSplits.includes(asString(preTokenizer?.type) ?? "");
}

/** At most `size` code units of a text, never half a surrogate pair. */
export function beginningOf(text: string, size: number): string {
  const last = text.charCodeAt(size - 1);
  return text.slice(0, last >= 0xd800 && last <= 0xdbff ? size - 1 : size);
}

export interface Surroundings {
  readonly margin: number;
  readonly splitsLocally: boolean;
}

/** The tokens of a text's beginning that the whole text begins with, in whole words. null: no more than `needed` are. */
export function sureTokens(
  tokens: SpanTokens,
  beginning: string,
  { margin, splitsLocally }: Surroundings,
  needed: number,
): SpanTokens | null {
  const bound = beginning.length - 2 * margin;
  if (bound <= 0) return null;
  const characters = characterCount(beginning.slice(0, bound));
  const between = beginning.slice(bound, bound + margin);
  const isApart = splitsLocally && hasWord(tokens, characters, characters + characterCount(between));
  if (!isApart && !/\s\S/.test(between)) return null;
  let count = tokens.ends.findIndex((end) => end > characters);
  if (count === -1) count = tokens.ends.length - 1;
  while (count > 0 && int32At(tokens.words, count) === int32At(tokens.words, count - 1)) count--;
  if (count <= needed) return null;
  const { ids, begins, ends, words } = tokens;
  return {
    ids: ids.slice(0, count),
    begins: begins.slice(0, count),
    ends: ends.slice(0, count),
    words: words.slice(0, count),
  };
}

/** Whether a whole word lies between two places: words of both sides may reach into them. */
function hasWord({ ends, words }: SpanTokens, from: number, to: number): boolean {
  const first = ends.findIndex((end) => end > from);
  const last = ends.findLastIndex((end) => end <= to);
  return first >= 0 && last >= first && int32At(words, last) - int32At(words, first) > 1;
}
