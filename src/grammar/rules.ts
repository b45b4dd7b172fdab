/** The rules of a grammar's source: its own first. Throws GrammarFault. */
import {
  call,
  type Expression,
  either,
  empty,
  except,
  type ListEntry,
  nothing,
  oneOf,
  repeat,
  sequence,
  text,
} from "./expression.js";
import { GrammarFault } from "./fault.js";
import { rulesOfGbnf } from "./gbnf.js";
import { anything, patternOf } from "./pattern.js";
import { rulesOfObject, rulesOfSchema } from "./schema/schema.js";
import { sharedRules } from "./schema/text.js";
import type { GrammarForm, GrammarSource, PlainSource } from "./source.js";

export function rulesOf(source: GrammarSource): readonly Expression[] {
  return source.kind === "form" ? new FormReader().read(source.form) : rulesOfPlain(source);
}

function rulesOfPlain(source: PlainSource): readonly Expression[] {
  switch (source.kind) {
    case "object":
      return rulesOfObject();
    case "schema":
      return rulesOfSchema(source.schema);
    case "pattern":
      return [patternOf(source.pattern, { whole: true })];
    case "choice":
      return [either(...source.choices.map(text))];
    case "gbnf":
      return rulesOfGbnf(source.grammar);
  }
}

/** Puts the rules of several sources together. The rules that all JSON grammars share exist once. */
class FormReader {
  readonly #rules: Expression[] = [nothing, ...sharedRules];
  readonly #known = new Map<string, Expression>();

  read(form: GrammarForm): readonly Expression[] {
    this.#rules[0] = this.#form(form);
    return this.#rules;
  }

  #form(form: GrammarForm): Expression {
    switch (form.kind) {
      case "text":
        return text(form.text);
      case "sequence":
      case "either":
        return { kind: form.kind, items: form.items.map((item) => this.#form(item)) };
      case "repeat":
        return repeat(this.#form(form.item), form.min, form.max);
      case "list": {
        const entries = form.entries.map(
          ({ item, isRequired }): ListEntry => ({ item: this.#form(item), times: isRequired ? "once" : "optional" }),
        );
        return { kind: "list", entries, separator: text(form.separator), before: empty, after: empty };
      }
      case "without":
        return except(anything, excluded(form.texts, form.start));
      case "source":
        return this.#source(form.source, form.where);
    }
  }

  #source(source: PlainSource, where: string | undefined): Expression {
    const name = JSON.stringify(source);
    const known = this.#known.get(name);
    if (known) return known;
    const rules = located(where, () => rulesOfPlain(source));
    const isJson = source.kind === "schema" || source.kind === "object";
    const own = isJson ? 1 + sharedRules.length : 1;
    const first = this.#rules.length;
    const place = (rule: number): number => (rule === 0 ? first : rule < own ? rule : first + 1 + rule - own);
    this.#rules.push(...[...rules.slice(0, 1), ...rules.slice(own)].map((rule) => renumbered(rule, place)));
    const expression = call(first);
    this.#known.set(name, expression);
    return expression;
  }
}

const spaces = repeat(oneOf(" \n\r\t"));

function excluded(texts: readonly string[], start: string | undefined): Expression {
  const inside = sequence(anything, either(...texts.map(text)), anything);
  return start === undefined ? inside : either(inside, sequence(spaces, text(start), anything));
}

/** The expression, with calls of other rules. */
function renumbered(expression: Expression, place: (rule: number) => number): Expression {
  const inside = (item: Expression): Expression => renumbered(item, place);
  switch (expression.kind) {
    case "call":
      return call(place(expression.rule));
    case "sequence":
    case "either":
      return { kind: expression.kind, items: expression.items.map(inside) };
    case "repeat":
      return { ...expression, item: inside(expression.item) };
    case "list":
      return {
        ...expression,
        entries: expression.entries.map(({ item, times }) => ({ item: inside(item), times })),
        separator: inside(expression.separator),
        before: inside(expression.before),
        after: inside(expression.after),
      };
    case "chars":
    case "both":
    case "except":
    case "automaton":
      return expression;
  }
}

function located<T>(where: string | undefined, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof GrammarFault) || where === undefined) throw error;
    throw new GrammarFault(`${where} ${error.message}`);
  }
}
