/** Splits long text into pieces that can be encoded separately with the same ids. */
import type { Tokenizer } from "../../text/types.js";

const pieceCharacters = 65_536;
/** Characters on either side of a cut that are encoded to check that it does not change ids. */
const contextCharacters = 64;
/** Attempts to find a cut before the text is left in one piece. */
const mostTries = 256;

/**
 * Cuts after a word, at a single space between two letters or before a line break, where most pre-tokenizers start a new word. Some
 * vocabularies merge even there, so it cuts only where the surrounding ids stay the same.
 */
export async function textPieces(text: string, tokenizer: Tokenizer): Promise<string[]> {
  const pieces: string[] = [];
  let begin = 0;
  while (text.length - begin > pieceCharacters) {
    const end = await cutAfter(text, begin + pieceCharacters, tokenizer);
    if (end === null) break;
    pieces.push(text.slice(begin, end));
    begin = end;
  }
  if (begin < text.length) pieces.push(text.slice(begin));
  return pieces;
}

async function cutAfter(text: string, least: number, tokenizer: Tokenizer): Promise<number | null> {
  const wordEnds = /\p{L}(?= \p{L})|[\p{L}\p{N}](?=\r?\n)/gu;
  wordEnds.lastIndex = least;
  for (let tries = 0; tries < mostTries; tries++) {
    const found = wordEnds.exec(text);
    if (!found) return null;
    const end = found.index + found[0].length;
    if (await isSeam(text, end, tokenizer)) return end;
  }
  return null;
}

/** Whether a cut leaves the ids around it unchanged. */
async function isSeam(text: string, at: number, tokenizer: Tokenizer): Promise<boolean> {
  const encode = (begin: number, end: number): Promise<number[]> =>
    tokenizer.encode(text.slice(Math.max(0, begin), end), { addSpecialTokens: false, continues: true });
  const around = await encode(at - contextCharacters, at + contextCharacters);
  const before = await encode(at - contextCharacters, at);
  const after = await encode(at, at + contextCharacters);
  return around.length === before.length + after.length && [...before, ...after].every((id, i) => id === around[i]);
}
