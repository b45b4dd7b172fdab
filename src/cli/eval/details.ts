/** What `eval --details` writes: each judged row with everything that it was judged by. */

import type { Tokenizer } from "../../text/types.js";
import type { TokenRow } from "../../train/data/encode.js";
import type { Answered, LabelChoice, PairScores } from "../../train/evaluate.js";

export interface JudgedRow {
  readonly row: TokenRow;
  /** The sum of -log p over its labels. */
  readonly loss: number;
  readonly label: LabelChoice | null;
  readonly answered: Answered | null;
  readonly pair: PairScores | null;
}

/** `choices` in the order of the rows with a label; `answers` and `pairs` name their rows, the chosen ones. */
export function joinJudged(
  rows: readonly TokenRow[],
  losses: readonly number[],
  choices: readonly LabelChoice[],
  answers: readonly Answered[],
  pairs: ReadonlyMap<TokenRow, PairScores>,
): JudgedRow[] {
  const byRow = new Map(answers.map((answered) => [answered.row, answered]));
  const labels = choices.values();
  return rows.map((row, i) => ({
    row,
    loss: losses[i] ?? Number.NaN,
    label: row.source ? (labels.next().value ?? null) : null,
    answered: byRow.get(row) ?? null,
    pair: pairs.get(row) ?? null,
  }));
}

/** A line of JSON for each row. `token_ids` are the row's own, of which the first `prompt_tokens` are not learned. */
export function formatDetails(rows: readonly JudgedRow[], tokenizer: Tokenizer): string {
  return rows
    .map(({ row, loss, label, answered, pair }) => {
      const ids = [...row.ids];
      const { promptLength, place } = row;
      const details = {
        file: place.file,
        line: place.line,
        ...(promptLength > 0
          ? { prompt: tokenizer.decode(ids.slice(0, promptLength), { keepSpecialTokens: true }) }
          : {}),
        ...(answered ? { expected: answered.expected, answer: answered.answer } : {}),
        ...label,
        ...(pair ? { chosen_logprob: pair.chosen, rejected_logprob: pair.rejected } : {}),
        loss,
        prompt_tokens: promptLength,
        token_ids: ids,
      };
      return `${JSON.stringify(details)}\n`;
    })
    .join("");
}
