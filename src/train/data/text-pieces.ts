/** Long text in pieces that are encoded one by one, with the ids of the whole. */
import type { Tokenizer } from "../../text/types.js";

const pieceCharacters = 65_536;
/** Characters on either side of a cut that are encoded to see whether it changes ids. */
const contextCharacters = 64;
/** Places that are tried before a text is left whole. */
const mostTries = 256;

/**
 * Cuts behind a word, between two letters with one space between them or before a line break, where most pre-tokenizers begin a
 * new word. Some vocabularies join even there, so a cut is made only where the ids around it stay the same.
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

/** Whether the ids around a place are those of what stands before it and of what stands behind it. */
async function isSeam(text: string, at: number, tokenizer: Tokenizer): Promise<boolean> {
  const encode = (begin: number, end: number): Promise<number[]> =>
    tokenizer.encode(text.slice(Math.max(0, begin), end), { addSpecialTokens: false, continues: true });
  const around = await encode(at - contextCharacters, at + contextCharacters);
  const before = await encode(at - contextCharacters, at);
  const behind = await encode(at, at + contextCharacters);
  return around.length === before.length + behind.length && [...before, ...behind].every((id, i) => id === around[i]);
}
