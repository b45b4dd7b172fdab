/** Says why a row has no form: what it has, and the form that it comes nearest to, with one example. */

import { nearest } from "../../base/nearest.js";

export interface FormShape {
  readonly required: readonly string[];
  readonly optional?: readonly string[];
  /** A row of this form. */
  readonly example: Readonly<Record<string, unknown>>;
}

const maxShown = 12;

/** The rest of a sentence after "file:line: ". `names`: the row's fields that are not null. */
export function formHint(names: readonly string[], forms: readonly [FormShape, ...FormShape[]]): string {
  const known = [...new Set(forms.flatMap(({ required, optional = [] }) => [...required, ...optional]))];
  const typos = new Map<string, string>();
  for (const name of names) {
    const meant = known.includes(name) ? null : nearest(name, known);
    if (meant !== null && !names.includes(meant)) typos.set(meant, name);
  }
  const all = [...names, ...typos.keys()];
  const [best = forms[0]] = [...forms].sort((a, b) => scoreOf(b, all) - scoreOf(a, all));
  const expected = JSON.stringify(best.example);
  const given = best.required.filter((name) => names.includes(name));
  const mistyped = best.required.flatMap((name) => {
    const typo = typos.get(name);
    return typo === undefined ? [] : [`\`${typo}\` for \`${name}\``];
  });
  if (mistyped.length > 0) return `has ${mistyped.join(", ")}; expected ${expected}`;
  if (given.length === 0) return `${fieldsText(names)}; expected for example ${JSON.stringify(forms[0].example)}`;
  const missing = best.required.filter((name) => !names.includes(name));
  if (missing.length > 0) return `has ${quoted(given)} but no ${quoted(missing)}; expected ${expected}`;
  const isOwn = (name: string): boolean => best.required.includes(name) || best.optional?.includes(name) === true;
  const strangers = names.filter((name) => known.includes(name) && !isOwn(name));
  return `has ${quoted(strangers)} beside ${quoted(given)}, which no form has; expected ${expected}`;
}

/** More required fields are better; then fewer that are missing. */
function scoreOf({ required }: FormShape, names: readonly string[]): number {
  const present = required.filter((name) => names.includes(name)).length;
  return present - (required.length - present) / 16;
}

function fieldsText(names: readonly string[]): string {
  const [first, ...others] = names.slice(0, maxShown);
  if (first === undefined) return "has no field";
  return others.length === 0 ? `has the field ${first}` : `has the fields ${[first, ...others].join(", ")}`;
}

const quoted = (names: readonly string[]): string => names.map((name) => `\`${name}\``).join(", ");
