/** The tokens of a text with the scores of their labels. */

import { at } from "../../base/list.js";
import type { TaskTensor } from "../../engine/task/types.js";
import type { RowTokenizer } from "../../text/tokenizer/row-tokenizer.js";
import type { EncodedRow } from "../../text/tokenizer/rows.js";
import type { ScoredToken } from "./entities.js";
import { activated } from "./label-scores.js";
import { checkedLogits, numbersOf } from "./values.js";

/** `logits`: [1, length, labels], of the padded row. Special tokens around the text are left out. */
export function scoredTokens(
  row: EncodedRow,
  logits: TaskTensor,
  text: string,
  tokenizer: Pick<RowTokenizer, "padLeft" | "unkId" | "marksSubwords" | "vocabularyText">,
): ScoredToken[] {
  const [, length = 0, labels = 0] = logits.shape;
  const values = numbersOf(logits);
  const characters = Array.from(text);
  const first = tokenizer.padLeft ? length - row.ids.length : 0;
  return row.ids.flatMap((id, index): ScoredToken[] => {
    if (row.sources[index] === null) return [];
    const [start, end] = at(row.spans, index);
    const source = characters.slice(start, end);
    const spelled = tokenizer.vocabularyText(id);
    const isUnknown = id === tokenizer.unkId;
    const continues = tokenizer.marksSubwords
      ? Array.from(spelled).length !== source.length
      : start > 0 && !characters.slice(start - 1, start + 1).includes(" ");
    const place = (first + index) * labels;
    return [
      {
        ...{ start, end, index },
        word: isUnknown ? source.join("") : spelled,
        scores: activated(checkedLogits(values.slice(place, place + labels)), "softmax"),
        isSubword: continues && !isUnknown,
      },
    ];
  });
}
