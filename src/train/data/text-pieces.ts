/** Long text in pieces that are encoded one by one. Knows no tokenizer. */

const pieceCharacters = 65_536;

/**
 * Cuts before a line break that ends a line of words: there every common pre-tokenizer begins a new word, so that the
 * pieces' ids are those of the whole.
 */
export function textPieces(text: string): string[] {
  const pieces: string[] = [];
  let begin = 0;
  while (text.length - begin > pieceCharacters) {
    const end = cutAfter(text, begin + pieceCharacters);
    pieces.push(text.slice(begin, end));
    begin = end;
  }
  if (begin < text.length) pieces.push(text.slice(begin));
  return pieces;
}

function cutAfter(text: string, least: number): number {
  const breaks = /\S(?=\r?\n)/g;
  breaks.lastIndex = least;
  const found = breaks.exec(text);
  return found ? found.index + 1 : text.length;
}
