/** Escaped HTML, as markupsafe has it: what is joined to a Markup is escaped first. */

import { spendCharacters } from "./budget.js";
import { str } from "./print.js";
import { isList, Markup, Tuple, type Value } from "./values.js";

const entities: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  "'": "&#39;",
  '"': "&#34;",
};

export function escapeText(text: string): string {
  spendCharacters(text.length);
  return text.replace(/[&<>'"]/g, (character) => entities[character] ?? character);
}

/** The text of a value for HTML: a Markup's own, anything else escaped. */
export const escaped = (value: Value): string => (value instanceof Markup ? value.text : escapeText(str(value)));

/** A text method's result as a Markup's: texts become Markup, in lists and tuples too. */
export function marked(value: Value): Value {
  if (typeof value === "string") return new Markup(value);
  if (isList(value)) return value.map(marked);
  return value instanceof Tuple ? new Tuple(value.items.map(marked)) : value;
}
