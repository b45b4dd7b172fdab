/** What the rules of a model's files forbid as the next token of its text, as transformers' logits processors do. */

import { at } from "../../base/list.js";
import type { GenerationRules } from "../../model/task/generation-rules.js";

export type TextRules = Pick<
  GenerationRules,
  "endIds" | "suppressedIds" | "suppressedFirstIds" | "bannedSequences" | "ngramSize" | "leastLength"
>;

export interface NextPlace {
  /** What the decoder has read, its first input included. */
  readonly ids: readonly number[];
  /** Whether the text's first token is given. */
  readonly hasFirst: boolean;
}

/** Sets the logits of tokens that may not come next to -Infinity. */
export function forbidTokens(logits: Float32Array, rules: TextRules, { ids, hasFirst }: NextPlace): void {
  const forbid = (id: number): void => {
    if (id < logits.length) logits[id] = Number.NEGATIVE_INFINITY;
  };
  for (const id of rules.suppressedIds) forbid(id);
  // Behind a given first token they are kept from being the next.
  if (ids.length === (hasFirst ? 2 : 1)) for (const id of rules.suppressedFirstIds) forbid(id);
  if (ids.length < rules.leastLength) for (const id of rules.endIds) forbid(id);
  for (const sequence of rules.bannedSequences) {
    const before = sequence.length - 1;
    if (before <= ids.length && matches(ids, ids.length - before, sequence, before)) forbid(at(sequence, before));
  }
  const { ngramSize } = rules;
  if (ngramSize === 0) return;
  const begin = ids.length - (ngramSize - 1);
  for (let start = 0; start + ngramSize <= ids.length; start++) {
    if (matches(ids, begin, ids.slice(start, start + ngramSize), ngramSize - 1)) forbid(at(ids, start + ngramSize - 1));
  }
}

/** Whether the first `count` of `wanted` stand in `ids` from `begin` on. */
function matches(ids: readonly number[], begin: number, wanted: readonly number[], count: number): boolean {
  for (let i = 0; i < count; i++) if (ids[begin + i] !== wanted[i]) return false;
  return true;
}
