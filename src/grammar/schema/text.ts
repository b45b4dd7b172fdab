/**
 * JSON's strings, numbers and literals as expressions. Behind a colon there is one space or none. Behind a comma and inside
 * brackets there is also room for a line end and the indentation of the next line.
 */
import { isObject } from "../../base/json.js";
import {
  call,
  chars,
  type Expression,
  either,
  intersection,
  lastCodePoint,
  oneOf,
  optional,
  type Range,
  repeat,
  sequence,
  text,
} from "../expression.js";

/** Characters that a JSON string may contain unescaped. */
const plain: readonly Range[] = [
  [0x20, 0x21],
  [0x23, 0x5b],
  [0x5d, lastCodePoint],
];
const hex = chars([48, 57], [65, 70], [97, 102]);
/** Four hexadecimal digits that are not half of a surrogate pair. */
const wholeUnit = either(
  sequence(chars([48, 57], [65, 67], [69, 70], [97, 99], [101, 102]), hex, hex, hex),
  sequence(oneOf("dD"), chars([48, 55]), hex, hex),
);
/** One character of a string, escaped or not. */
const character = either(
  chars(...plain),
  sequence(text("\\"), either(oneOf('"\\/bfnrt'), sequence(text("u"), wholeUnit))),
);

export const digit = chars([48, 57]);

/** The rules that all JSON grammars share, after the rule of the whole text. */
const [stringRule, valueRule, gapRule] = [1, 2, 3];
export const anyString = call(stringRule);
export const anyValue = call(valueRule);
const gap = call(gapRule);
/** Indentation of the deepest line, in spaces or in tabs. */
const maxSpaces = 64;
const maxTabs = 16;

const colon = sequence(text(":"), optional(text(" ")));
export const comma = sequence(text(","), gap);
const quote = text('"');

/** A string of `min` to `max` characters. */
export const stringOfLength = (min: number, max: number | null): Expression =>
  sequence(quote, repeat(character, min, max), quote);

/** A string whose value matches `content`. */
export const stringOf = (content: Expression): Expression => sequence(quote, escaped(content), quote);

/** The same texts with each character escaped as JSON.stringify does. */
function escaped(content: Expression): Expression {
  switch (content.kind) {
    case "chars": {
      const special = intersection(content.ranges, [
        [0, 0x1f],
        [0x22, 0x22],
        [0x5c, 0x5c],
      ]);
      const spelled = special.flatMap(([from, to]) =>
        Array.from({ length: to - from + 1 }, (_, index) =>
          text(JSON.stringify(String.fromCodePoint(from + index)).slice(1, -1)),
        ),
      );
      return either(chars(...intersection(content.ranges, plain)), ...spelled);
    }
    case "sequence":
    case "either":
      return { kind: content.kind, items: content.items.map(escaped) };
    case "repeat":
      return { ...content, item: escaped(content.item) };
    case "both":
    case "except":
      return { kind: content.kind, left: escaped(content.left), right: escaped(content.right) };
    case "call":
    case "list":
    case "automaton":
      return content;
  }
}

/** The number of decimal digits that a double always preserves. */
export const exactDigits = 15;

const wholeNumber = either(text("0"), sequence(chars([49, 57]), repeat(digit, 0, exactDigits - 1)));

export const integer = sequence(optional(text("-")), wholeNumber);

/** Any number that a double can represent: no more digits than it preserves, and an exponent that does not overflow. */
export const number = sequence(
  integer,
  optional(sequence(text("."), repeat(digit, 1, exactDigits))),
  optional(sequence(oneOf("eE"), optional(oneOf("+-")), repeat(digit, 1, 2))),
);

const list = { kind: "list", separator: comma, before: gap, after: gap } as const;

export const object = (
  entries: readonly {
    readonly key: Expression;
    readonly value: Expression;
    readonly times: "once" | "optional" | "any";
  }[],
): Expression =>
  sequence(
    text("{"),
    {
      ...list,
      entries: entries.map(({ key, value, times }) => ({ item: sequence(key, colon, value), times })),
    },
    text("}"),
  );

/** A list in square brackets; `items` is what they hold, if anything. */
export const array = (items: Expression, { mayBeEmpty }: { readonly mayBeEmpty: boolean }): Expression => {
  const inside = sequence(gap, items, gap);
  return sequence(text("["), mayBeEmpty ? optional(inside) : inside, text("]"));
};

export const key = (name: string): Expression => text(JSON.stringify(name));

export const anyObject = object([{ key: anyString, value: anyValue, times: "any" }]);

/** The shared rules, in their order. */
export const sharedRules: readonly Expression[] = [
  stringOfLength(0, null),
  either(
    ...[anyString, number, text("true"), text("false"), text("null"), anyObject],
    sequence(text("["), { ...list, entries: [{ item: anyValue, times: "any" }] }, text("]")),
  ),
  either(
    optional(text(" ")),
    sequence(text("\n"), either(repeat(text(" "), 0, maxSpaces), repeat(text("\t"), 1, maxTabs))),
  ),
];

/** Exactly this value. */
export function literal(value: unknown): Expression {
  if (Array.isArray(value)) {
    const entries = value.map((item) => ({ item: literal(item), times: "once" as const }));
    return sequence(text("["), { ...list, entries }, text("]"));
  }
  if (isObject(value)) {
    return object(
      Object.entries(value).map(([name, item]) => ({ key: key(name), value: literal(item), times: "once" })),
    );
  }
  return text(JSON.stringify(value));
}
