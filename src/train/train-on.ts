/** Which tokens of a row count in the loss: the answers, all tokens, or only the last answer. */
import type { TokenRow } from "./data/encode.js";

/** `answers`: completions and assistant turns; `all`: also everything before and between them; `last`: only the last one. */
export type TrainOn = "answers" | "all" | "last";

/** The rows of an example, with the loss on these tokens. */
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

/** Everything before the last answer is its prompt. */
function lastSpan(row: TokenRow): TokenRow {
  const end = row.trained.lastIndexOf(1) + 1;
  const begin = row.trained.lastIndexOf(0, end - 1) + 1;
  if (end === 0 || begin === row.promptLength || row.promptLength === 0) return row;
  return { ...row, trained: new Uint8Array(row.ids.length).fill(1, begin, end), promptLength: begin };
}
