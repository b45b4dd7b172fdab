/** How a long answer is divided while it grows. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { AnswerPiece } from "../../web/client/chunk.js";
import { type Block, grown, paragraphsOf } from "../../web/compare/blocks.js";

const pieceOf = (text: string): AnswerPiece => ({
  ...{ text, isReasoning: false, probability: null, alternatives: [], tokens: 1 },
});

const textOf = (blocks: readonly Block[]): string =>
  blocks.flatMap(({ pieces }) => pieces.map(({ text }) => text)).join("");

test("an answer grows by its last block alone, and a line that ends closes its paragraph", () => {
  const texts = Array.from({ length: 500 }, (_, i) => (i % 150 === 149 ? ".\n\n" : ` w${i}`));
  let blocks: readonly Block[] = [];
  for (let i = 0; i < texts.length; i += 7) {
    const before = blocks;
    blocks = grown(before, texts.slice(i, i + 7).map(pieceOf));
    assert.deepEqual(blocks.slice(0, Math.max(0, before.length - 1)), before.slice(0, -1));
  }
  assert.equal(textOf(blocks), texts.join(""));
  let start = 0;
  for (const block of blocks) {
    assert.equal(block.start, start);
    assert.ok(block.pieces.length <= 64);
    start += block.pieces.length;
  }
  const paragraphs = paragraphsOf(blocks).map(textOf);
  assert.deepEqual(paragraphs.join(""), texts.join(""));
  assert.deepEqual(
    paragraphs.map((text) => text.endsWith("\n")),
    [true, true, true, false],
  );
});
