/** str.format and str.format_map, sandboxed: fields access attributes only as templates do. */

import { spend, spendCharacters } from "./budget.js";
import { keywordsOf } from "./container-methods.js";
import { fault, typeFault, valueFault } from "./faults.js";
import { format } from "./format-spec.js";
import { escapeText } from "./markup.js";
import { ascii, repr, str } from "./print.js";
import { type Arguments, type Callable, Markup, textOf, type Value } from "./values.js";

interface Field {
  readonly name: string;
  readonly conversion: string;
  readonly spec: string;
}

type Piece = string | Field;

/** How a field accesses a value. */
export interface Access {
  attribute(value: Value, name: string): Value;
  item(value: Value, key: Value): Value;
}

/** `text.format` or `text.format_map`. A Markup escapes its arguments. */
export function formatMethod(self: string | Markup, name: "format" | "format_map", access: Access): Callable["call"] {
  return (args) => new Formatter(self, name === "format" ? args : mapArguments(args), access).run();
}

function mapArguments({ positional, keyword }: Arguments): Arguments {
  const [mapping, ...more] = positional;
  if (mapping === undefined || more.length > 0 || keyword.size > 0) return typeFault("format_map() takes one argument");
  return { positional: [], keyword: keywordsOf(mapping) };
}

class Formatter {
  readonly #self: string | Markup;
  readonly #args: Arguments;
  readonly #access: Access;
  /** The index of the next unnamed field; null once fields are numbered. */
  #next: number | null = 0;

  constructor(self: string | Markup, args: Arguments, access: Access) {
    this.#self = self;
    this.#args = args;
    this.#access = access;
  }

  run(): string | Markup {
    const text = this.#render(textOf(this.#self), 0);
    return this.#self instanceof Markup ? new Markup(text) : text;
  }

  #render(source: string, depth: number): string {
    if (depth > 2) valueFault("Max string recursion exceeded");
    let out = "";
    for (const piece of pieces(source)) {
      spend();
      out += typeof piece === "string" ? piece : this.#field(piece, depth);
    }
    spendCharacters(out.length);
    return out;
  }

  #field({ name, conversion, spec }: Field, depth: number): string {
    const value = convert(this.#value(this.#numbered(name)), conversion);
    const text = format(value, this.#render(spec, depth + 1));
    return this.#self instanceof Markup && !(value instanceof Markup) ? escapeText(text) : text;
  }

  #numbered(name: string): string {
    if (name === "") {
      if (this.#next === null)
        return valueFault("cannot switch from manual field specification to automatic field numbering");
      return String(this.#next++);
    }
    if (/^\d+$/.test(name)) {
      if (this.#next) valueFault("cannot switch from automatic field numbering to manual field specification");
      this.#next = null;
    }
    return name;
  }

  #value(name: string): Value {
    const path = name.replace(/^[^.[]+/, "");
    const first = name.slice(0, name.length - path.length);
    const { positional, keyword } = this.#args;
    const given = /^\d+$/.test(first) ? positional[Number(first)] : keyword.get(first);
    return this.#follow(given === undefined ? fault("KeyError", repr(first)) : given, path);
  }

  /** Follows the attributes and items after a field's first name. */
  #follow(value: Value, path: string): Value {
    if (path === "") return value;
    const found = /^(?:\.([^.[]+)|\[([^\]]+)\])/s.exec(path);
    if (!found) return valueFault("Empty attribute in format string");
    const [whole, name, key = ""] = found;
    const rest = path.slice(whole.length);
    if (name !== undefined) return this.#follow(this.#access.attribute(value, name), rest);
    return this.#follow(this.#access.item(value, /^\d+$/.test(key) ? Number(key) : key), rest);
  }
}

function convert(value: Value, conversion: string): Value {
  if (conversion === "") return value;
  if (conversion === "s") return value instanceof Markup ? value : str(value);
  if (conversion === "r") return repr(value);
  return conversion === "a" ? ascii(value) : valueFault(`Unknown conversion specifier ${conversion}`);
}

/** Literal text and fields; doubled braces are literal. */
function* pieces(source: string): Generator<Piece> {
  let at = 0;
  while (at < source.length) {
    const brace = source.slice(at).search(/[{}]/);
    if (brace < 0) return yield source.slice(at);
    if (brace > 0) yield source.slice(at, at + brace);
    at += brace;
    const character = source.charAt(at);
    if (source[at + 1] === character) {
      yield character;
      at += 2;
    } else if (character === "}") valueFault("Single '}' encountered in format string");
    else {
      const end = fieldEnd(source, at);
      yield parseField(source.slice(at + 1, end));
      at = end + 1;
    }
  }
}

function fieldEnd(source: string, begin: number): number {
  let depth = 0;
  for (let at = begin; at < source.length; at++) {
    if (source[at] === "{") depth++;
    if (source[at] === "}" && --depth === 0) return at;
  }
  return valueFault("expected '}' before end of string");
}

function parseField(source: string): Field {
  const found = /^((?:[^[!:{}]|\[[^\]]*\]?)*)(?:!([^:]*))?(?::(.*))?$/s.exec(source);
  if (!found) return valueFault("expected '}' before end of string");
  const [, name = "", conversion, spec = ""] = found;
  if (conversion !== undefined && conversion.length !== 1) valueFault("expected ':' after conversion specifier");
  return { name, conversion: conversion ?? "", spec };
}
