/** Numbers between bounds as expressions: decimal digits compared from the left. */
import { at } from "../../base/list.js";
import type { Automaton, Edge } from "../automaton-types.js";
import {
  both,
  chars,
  type Expression,
  either,
  empty,
  nothing,
  optional,
  repeat,
  sequence,
  text,
} from "../expression.js";
import { digit, exactDigits, integer, number } from "./text.js";

export interface Bounds {
  readonly low: Bound | null;
  readonly high: Bound | null;
}

export interface Bound {
  readonly value: number;
  /** The value itself is not allowed. */
  readonly exclusive: boolean;
}

/** A number's magnitude in digits, without redundant zeros. */
interface Decimal {
  readonly whole: string;
  readonly fraction: string;
}

const digits = repeat(digit);

export function integerWithin({ low, high }: Bounds): Expression {
  if (!low && !high) return integer;
  const first = low && { value: low.exclusive ? Math.floor(low.value) + 1 : Math.ceil(low.value), exclusive: false };
  const last = high && { value: high.exclusive ? Math.ceil(high.value) - 1 : Math.floor(high.value), exclusive: false };
  return within({ low: first, high: last }, 0);
}

/** Numbers between bounds have no exponent. */
export function numberWithin({ low, high }: Bounds): Expression {
  if (!low && !high) return number;
  const sizes = [low, high].map((bound) => decimal(bound?.value ?? 0));
  const places = Math.max(
    1,
    exactDigits - Math.max(...sizes.map(({ whole }) => whole.length)),
    ...sizes.map(({ fraction }) => fraction.length),
  );
  return within({ low, high }, places);
}

function within({ low, high }: Bounds, places: number): Expression {
  const size = (bound: Bound | null): number => (bound ? decimal(bound.value).whole.length : 0);
  const length = Math.max(exactDigits, size(low), size(high));
  const whole = either(text("0"), sequence(chars([49, 57]), repeat(digit, 0, length - 1)));
  const form = places === 0 ? whole : sequence(whole, optional(sequence(text("."), repeat(digit, 1, places))));
  const positive = sides(form, low && low.value >= 0 ? low : null, high && high.value >= 0 ? high : null);
  const negative = sides(form, high && high.value <= 0 ? high : null, low && low.value <= 0 ? low : null);
  return either(
    high && high.value < 0 ? nothing : positive,
    low && low.value >= 0 ? nothing : sequence(text("-"), negative),
  );
}

/** Sizes of the form from the one bound's to the other's. */
function sides(form: Expression, least: Bound | null, most: Bound | null): Expression {
  let expression = form;
  if (least && (least.value !== 0 || least.exclusive)) expression = both(expression, atLeast(least));
  if (most) expression = both(expression, atMost(most));
  return expression;
}

function atLeast({ value, exclusive }: Bound): Expression {
  const { whole, fraction } = decimal(value);
  const equal = sequence(text(whole), fractionAbove(fraction, exclusive));
  return either(sequence(wholeAbove(whole), optional(sequence(text("."), digits))), equal);
}

function atMost({ value, exclusive }: Bound): Expression {
  const { whole, fraction } = decimal(value);
  const equal = sequence(text(whole), fractionBelow(fraction, exclusive));
  return either(sequence(wholeBelow(whole), optional(sequence(text("."), digits))), equal);
}

/** Whole numbers above one. */
function wholeAbove(whole: string): Expression {
  const longer = sequence(chars([49, 57]), repeat(digit, whole.length));
  const same = Array.from(whole, (figure, index) =>
    sequence(text(whole.slice(0, index)), figures(Number(figure) + 1, 9), exactly(whole.length - index - 1)),
  );
  return either(longer, ...same);
}

/** Whole numbers below one. */
function wholeBelow(whole: string): Expression {
  const shorter =
    whole.length > 1 ? either(text("0"), sequence(figures(1, 9), repeat(digit, 0, whole.length - 2))) : nothing;
  const same = Array.from(whole, (figure, index) =>
    sequence(
      text(whole.slice(0, index)),
      figures(index === 0 && whole.length > 1 ? 1 : 0, Number(figure) - 1),
      exactly(whole.length - index - 1),
    ),
  );
  return either(shorter, ...same);
}

/** What follows a whole part that is the bound's, for numbers of at least the bound. */
function fractionAbove(fraction: string, exclusive: boolean): Expression {
  const above = Array.from(fraction, (figure, index) =>
    sequence(text(`.${fraction.slice(0, index)}`), figures(Number(figure) + 1, 9), digits),
  );
  const more = sequence(repeat(text("0")), figures(1, 9), digits);
  if (exclusive) return either(...above, sequence(text(`.${fraction}`), more));
  if (fraction === "") return optional(sequence(text("."), digits));
  return either(...above, sequence(text(`.${fraction}`), digits));
}

/** The same for numbers of at most the bound. */
function fractionBelow(fraction: string, exclusive: boolean): Expression {
  const zeros = repeat(text("0"));
  if (fraction === "") return exclusive ? nothing : optional(sequence(text("."), zeros));
  const below = Array.from(fraction, (figure, index) => {
    const start = text(`.${fraction.slice(0, index)}`);
    return either(sequence(start, figures(0, Number(figure) - 1), digits), index === 0 ? nothing : start);
  });
  return either(empty, ...below, exclusive ? nothing : sequence(text(`.${fraction}`), zeros));
}

/** Exponents of doubles end at 308: the digits are written out. */
function decimal(value: number): Decimal {
  const [mantissa = "0", exponent = "0"] = String(Math.abs(value)).split("e");
  const [whole = "", fraction = ""] = mantissa.split(".");
  const shift = Number(exponent);
  const all = whole + fraction;
  const point = whole.length + shift;
  const padded = point > all.length ? all.padEnd(point, "0") : all.padStart(all.length - Math.min(0, point), "0");
  const split = Math.max(0, point);
  return { whole: padded.slice(0, split).replace(/^0+/, "") || "0", fraction: padded.slice(split).replace(/0+$/, "") };
}

const figures = (from: number, to: number): Expression => (from > to ? nothing : chars([48 + from, 48 + to]));
const exactly = (count: number): Expression => repeat(digit, count, count);

/** Integers that `divisor` divides: an automaton that carries the remainder. */
export function multiplesOf(divisor: number): Expression {
  const edges = Array.from({ length: divisor }, (_, remainder) => {
    return Array.from({ length: 10 }, (_, figure): Edge => {
      return { low: 48 + figure, high: 48 + figure, target: (remainder * 10 + figure) % divisor };
    });
  });
  const automaton: Automaton = {
    start: divisor,
    accepts: [...edges.map((_, remainder) => remainder === 0), false],
    edges: [...edges, at(edges, 0)],
  };
  return sequence(optional(text("-")), { kind: "automaton", automaton });
}
