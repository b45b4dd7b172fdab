/** Where a pattern of a tokenizer.json matches. The package translates the pattern; positions come from marks around its matches. */

import type { Json } from "../../base/json.js";
import { openPackage } from "./package.js";

export type Match = readonly [begin: number, end: number];

/** Lone surrogates, which well-formed text does not contain, kept apart from its surrogates by a noncharacter. */
const opening = "\uD800\uFFFF";
const closing = "\uFFFF\uDC00";
const content = `${opening}$&${closing}`;

/** Finds the matches of `{String}` or `{Regex}` in well-formed text, in UTF-16 code units. Throws `model_unsupported` for other patterns. */
export function createMatcher(pattern: Json): (text: string) => Match[] {
  const { normalizer } = openPackage({ normalizer: { type: "Replace", pattern, content } });
  return (text) => {
    const found = normalizer?.(text) ?? text;
    const matches: Match[] = [];
    let at = found.indexOf(opening);
    for (let marks = 0; at >= 0; marks += 2) {
      const end = found.indexOf(closing, at + opening.length);
      matches.push([at - marks * opening.length, end - (marks + 1) * opening.length]);
      at = found.indexOf(opening, end + closing.length);
    }
    return matches;
  };
}
