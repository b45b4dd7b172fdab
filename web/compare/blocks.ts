/** The pieces of a long answer in blocks, of which only the last one changes, and in paragraphs, which are laid out by themselves. */
import type { AnswerPiece } from "../client/chunk.js";

/** Pieces that follow each other in one paragraph. Never changed: a block that grows is replaced. */
export interface Block {
  readonly start: number;
  readonly pieces: readonly AnswerPiece[];
}

const blockSize = 64;

const endsLine = (block: Block): boolean => block.pieces.at(-1)?.text.endsWith("\n") ?? false;

/** The blocks with more pieces at their end. */
export function grown(blocks: readonly Block[], pieces: readonly AnswerPiece[]): readonly Block[] {
  const all = [...blocks];
  for (const piece of pieces) {
    const last = all.at(-1);
    if (last && last.pieces.length < blockSize && !endsLine(last)) {
      all[all.length - 1] = { start: last.start, pieces: [...last.pieces, piece] };
    } else all.push({ start: last ? last.start + last.pieces.length : 0, pieces: [piece] });
  }
  return all;
}

/** Groups blocks by the lines that end: a browser lays out a paragraph as a whole, but not those before it. */
export function paragraphsOf(blocks: readonly Block[]): readonly (readonly Block[])[] {
  const paragraphs: Block[][] = [];
  let isOpen = false;
  for (const block of blocks) {
    if (isOpen) paragraphs.at(-1)?.push(block);
    else paragraphs.push([block]);
    isOpen = !endsLine(block);
  }
  return paragraphs;
}
