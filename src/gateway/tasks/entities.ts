/** Labels of tokens to entities of a text, as transformers' pipeline aggregates them. */

import type { Json } from "../../base/json.js";

export const aggregations = ["none", "simple", "first", "average", "max"] as const;
export type Aggregation = (typeof aggregations)[number];

/** A token that is from the text, with the score of each label. */
export interface ScoredToken {
  readonly word: string;
  readonly scores: readonly number[];
  /** [start, end) in the text, in characters. */
  readonly start: number;
  readonly end: number;
  /** In the row, special tokens included. */
  readonly index: number;
  /** Whether it continues the word before it. */
  readonly isSubword: boolean;
}

export interface AggregationRules {
  readonly aggregation: Aggregation;
  readonly labels: readonly string[];
  /** Entities with these labels are left out. */
  readonly ignored: readonly string[];
  /** The text of tokens, as the tokenizer's decoder joins them. */
  join(words: readonly string[]): string;
}

interface Entity {
  readonly label: string;
  readonly score: number;
  readonly word: string;
  readonly start: number;
  readonly end: number;
}

/** In Hugging Face's form: `entity` for tokens without aggregation, `entity_group` with it. */
export function entitiesOf(tokens: readonly ScoredToken[], rules: AggregationRules): Json[] {
  const { aggregation, ignored } = rules;
  if (aggregation === "none") {
    return tokens
      .map((token) => ({ ...labelled(token, token.scores, rules), index: token.index }))
      .filter(({ label }) => !ignored.includes(label))
      .map(({ label, score, index, word, start, end }) => ({ entity: label, score, index, word, start, end }));
  }
  const entities =
    aggregation === "simple"
      ? tokens.map((token) => labelled(token, token.scores, rules))
      : wordsOf(tokens).map((word) => labelledWord(word, rules));
  return groupsOf(entities)
    .map((group) => joined(group, rules))
    .filter(({ label }) => !ignored.includes(label))
    .map(({ label, score, word, start, end }) => ({ entity_group: label, score, word, start, end }));
}

function labelled(
  { word, start, end }: Pick<ScoredToken, "word" | "start" | "end">,
  scores: readonly number[],
  { labels }: AggregationRules,
): Entity {
  const score = scores.reduce((most, each) => Math.max(most, each), 0);
  return { label: labels[scores.indexOf(score)] ?? "", score, word, start, end };
}

/** The tokens of each word. */
function wordsOf(tokens: readonly ScoredToken[]): [ScoredToken, ...ScoredToken[]][] {
  const words: [ScoredToken, ...ScoredToken[]][] = [];
  for (const token of tokens) {
    const word = words.at(-1);
    if (word && token.isSubword) word.push(token);
    else words.push([token]);
  }
  return words;
}

function labelledWord(tokens: readonly [ScoredToken, ...ScoredToken[]], rules: AggregationRules): Entity {
  const [first] = tokens;
  const span = { word: rules.join(tokens.map(({ word }) => word)), start: first.start, end: tokens.at(-1)?.end ?? 0 };
  return labelled(span, wordScores(tokens, rules.aggregation), rules);
}

function wordScores(tokens: readonly [ScoredToken, ...ScoredToken[]], aggregation: Aggregation): readonly number[] {
  const [first] = tokens;
  if (aggregation === "average")
    return first.scores.map((_, i) => tokens.reduce((sum, { scores }) => sum + (scores[i] ?? 0), 0) / tokens.length);
  if (aggregation === "first") return first.scores;
  const best = ({ scores }: ScoredToken): number => Math.max(...scores);
  return tokens.reduce((most, token) => (best(token) > best(most) ? token : most), first).scores;
}

/** `B-` begins an entity; anything else continues one of the same kind. */
const kindOf = (label: string): string => label.replace(/^[BI]-/, "");

function groupsOf(entities: readonly Entity[]): [Entity, ...Entity[]][] {
  const groups: [Entity, ...Entity[]][] = [];
  for (const entity of entities) {
    const group = groups.at(-1);
    const last = group?.at(-1);
    if (group && last && kindOf(last.label) === kindOf(entity.label) && !entity.label.startsWith("B-"))
      group.push(entity);
    else groups.push([entity]);
  }
  return groups;
}

function joined(group: readonly [Entity, ...Entity[]], { join }: AggregationRules): Entity {
  const [first] = group;
  return {
    label: first.label.slice(first.label.indexOf("-") + 1),
    score: group.reduce((sum, { score }) => sum + score, 0) / group.length,
    word: join(group.map(({ word }) => word)),
    start: first.start,
    end: group.at(-1)?.end ?? 0,
  };
}
