/** Escaped HTML, as in markupsafe: text joined to a Markup is escaped first. */

import { valueAt } from "../../base/list.js";
import { spendCharacters } from "./budget.js";
import { str } from "./print.js";
import { isList, Markup, Tuple, type Value } from "./values.js";

const entities: ReadonlyMap<string, string> = new Map([
  ["&", "&amp;"],
  ["<", "&lt;"],
  [">", "&gt;"],
  ["'", "&#39;"],
  ['"', "&#34;"],
]);

export function escapeText(text: string): string {
  spendCharacters(text.length);
  return text.replace(/[&<>'"]/g, (character) => valueAt(entities, character));
}

/** A value as HTML: a Markup's text, anything else escaped. */
export const escaped = (value: Value): string => (value instanceof Markup ? value.text : escapeText(str(value)));

/** The result of a Markup's text method: texts become Markup, also in lists and tuples. */
export function marked(value: Value): Value {
  if (typeof value === "string") return new Markup(value);
  if (isList(value)) return value.map(marked);
  return value instanceof Tuple ? new Tuple(value.items.map(marked)) : value;
}
