/** Which of a row's tokens are learned: the answers, all of them, or the last answer only. Knows no text. */
import type { TokenRow } from "./data/encode.js";

/** `answers`: completions and the assistant's turns; `all`: what stands before and between them too; `last`: the last of them. */
export type TrainOn = "answers" | "all" | "last";

/** The rows of one example with other tokens to learn. */
export function trainOn(rows: readonly TokenRow[], part: TrainOn): readonly TokenRow[] {
  switch (part) {
    case "answers":
      return rows;
    case "all":
      return rows.map((row) => ({ ...row, trained: new Uint8Array(row.ids.length).fill(1, 1) }));
    case "last":
      return rows.slice(-1).map(lastSpan);
  }
}

/** What stands before the last answer is its prompt. */
function lastSpan(row: TokenRow): TokenRow {
  const end = row.trained.lastIndexOf(1) + 1;
  const begin = row.trained.lastIndexOf(0, end - 1) + 1;
  if (end === 0 || begin === row.promptLength || row.promptLength === 0) return row;
  return { ...row, trained: new Uint8Array(row.ids.length).fill(1, begin, end), promptLength: begin };
}
