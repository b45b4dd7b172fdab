/** Tags of the words of texts. */

import type { EncodedRow } from "../../../text/tokenizer/rows.js";
import { type Fields, RowFault, shown } from "../../data/rows.js";
import { firstText, textInputs } from "../inputs/text-inputs.js";
import { chooseLabels, newLabels, requireSeveral } from "../labels.js";
import { shownTags, type TokenTags, tagging } from "../objectives/tagging.js";
import type { RowReader, TaskData } from "../task-data.js";
import { chooseOutput, requireTokenizer, type SetupParts, type TaskSetup, widthOf } from "./setup.js";

export function tokenClassification(parts: SetupParts): TaskSetup {
  const { graph, head } = parts;
  const tokenizer = requireTokenizer(parts);
  const limit = parts.maxLength ?? undefined;
  const reader: RowReader = {
    kind: "tagged",
    forms: [
      {
        required: ["tokens", "tags"],
        example: { tokens: ["Ada", "lived", "in", "London"], tags: ["B-PER", "O", "O", "B-LOC"] },
      },
    ],
    async read(fields, place) {
      const words = listOf(fields, "tokens");
      const tags = listOf(fields, "tags");
      if (words.length !== tags.length)
        throw new RowFault(`has ${words.length} \`tokens\` and ${tags.length} \`tags\``);
      const row = await tokenizer.encodeRow({ text: words.join(" ") }, { truncate: true, maxLength: limit });
      const target = tagsOfTokens(row, words, tags);
      const found = target.filter((tag) => tag !== null).length;
      return { source: [row], target, size: row.ids.length, place, isShortened: found < words.length };
    },
  };
  return {
    reader,
    inputs: textInputs(graph, tokenizer),
    savesHeads: true,
    newLabels: (data) => newLabels(tagsIn(data), head.labels),
    objective(data, given) {
      const output = chooseOutput(graph, ["logits"]);
      const facts = { given, base: head.labels, width: widthOf(graph, output), found: tagsIn(data) };
      const { labels, isFresh } = chooseLabels(facts);
      requireSeveral(labels);
      return {
        objective: tagging(labels, output, tokenizer.padLeft),
        assessment: shownTags(labels, output, tokenizer.padLeft, firstText(tokenizer)),
        labels: given ?? head.labels,
        freshHead: isFresh ? { output, width: labels.length } : null,
      };
    },
  };
}

const tagsIn = ({ train, valid, test }: TaskData): string[] =>
  [...train, ...valid, ...test].flatMap(({ target }) => (target as TokenTags).flatMap((tag) => tag ?? []));

function listOf(fields: Fields, name: string): string[] {
  const value = fields[name];
  const words: readonly unknown[] = Array.isArray(value) ? value : [];
  if (words.length > 0 && words.every((word) => typeof word === "string" && word.trim() !== ""))
    return words as string[];
  throw new RowFault(`must have a list of words as \`${name}\`, not ${shown(value)}`);
}

/** A word's tag belongs to its first token; its other tokens have none. */
function tagsOfTokens({ spans, sources }: EncodedRow, words: readonly string[], tags: readonly string[]): TokenTags {
  const ends: number[] = [];
  for (const word of words) ends.push((ends.at(-1) ?? -1) + 1 + Array.from(word).length);
  let last = -1;
  return spans.map(([begin, end], i) => {
    if (sources[i] === null || end <= begin) return null;
    // A token may begin with the space in front of its word.
    const word = ends.findIndex((limit) => end <= limit);
    if (word <= last) return null;
    last = word;
    return tags[word] ?? null;
  });
}
