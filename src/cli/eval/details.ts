/** The rows that `eval --details` writes: each evaluated row with its losses, scores and answers. */

import { at } from "../../base/list.js";
import type { Tokenizer } from "../../text/types.js";
import type { TokenRow } from "../../train/data/encode.js";
import type { Answered, LabelChoice, PairScores } from "../../train/evaluate.js";

export interface EvaluatedRow {
  readonly row: TokenRow;
  /** The sum of -log p over its labels. */
  readonly loss: number;
  readonly label: LabelChoice | null;
  readonly answered: Answered | null;
  readonly pair: PairScores | null;
}

/** `choices` are in the order of the rows with a label; `answers` and `pairs` refer to their rows. */
export function joinResults(
  rows: readonly TokenRow[],
  losses: readonly number[],
  choices: readonly LabelChoice[],
  answers: readonly Answered[],
  pairs: ReadonlyMap<TokenRow, PairScores>,
): EvaluatedRow[] {
  const byRow = new Map(answers.map((answered) => [answered.row, answered]));
  let labelled = 0;
  return rows.map((row, i) => ({
    row,
    loss: at(losses, i),
    label: row.source ? at(choices, labelled++) : null,
    answered: byRow.get(row) ?? null,
    pair: pairs.get(row) ?? null,
  }));
}

/** A line of JSON for each row. The first `prompt_tokens` of `token_ids` are the prompt. */
export function formatDetails(rows: readonly EvaluatedRow[], tokenizer: Tokenizer): string {
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
