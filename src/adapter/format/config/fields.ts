/** Typed reads of an untrusted JSON object: null equals absent, and every wrong type is a fault. Knows no keys. */

import { isObject } from "../../../base/json.js";
import { type Faults, quote } from "../faults.js";
import type { PatternEntries } from "../patterns.js";

/** Far above any real alpha; larger ones overflow with the matrices' values. */
export const maxAlpha = 1_000_000;

export type Fields = Readonly<Record<string, unknown>>;

export interface FieldOptions {
  /** The prefix of keys in messages. */
  readonly prefix?: string;
  /** The config was accepted before, maybe by an earlier release: numbers may be outside today's range. */
  readonly trusted?: boolean;
}

/** Reads typed fields; null equals absent; a wrong type is a fault and reads as the default. */
export class FieldReader {
  readonly #fields: Fields;
  readonly #faults: Faults;
  readonly #prefix: string;

  readonly #trusted: boolean;

  constructor(fields: Fields, faults: Faults, { prefix = "", trusted = false }: FieldOptions = {}) {
    this.#fields = fields;
    this.#faults = faults;
    this.#prefix = prefix;
    this.#trusted = trusted;
  }

  flag(key: string): boolean {
    return this.#read(key, (value) => typeof value === "boolean", "true or false", false);
  }

  number(key: string, fallback: number): number {
    return this.#read(key, isNumber, "a finite number", fallback);
  }

  /** A number above zero, up to `most`. */
  positiveNumber(key: string, fallback: number, most: number): number {
    return this.#read(key, this.#isWithin(most), `a number above 0, up to ${most},`, fallback);
  }

  positiveInteger(key: string, fallback: number): number {
    return this.#read(key, isPositiveInteger, "a positive whole number", fallback);
  }

  wholeNumber(key: string, fallback: number): number {
    return this.#read(key, isWholeNumber, "a whole number", fallback);
  }

  /** A list of whole numbers; a single one is read as a list. */
  wholeNumbers(key: string): readonly number[] {
    const isEither = (value: unknown): value is number | readonly number[] =>
      isWholeNumber(value) || (Array.isArray(value) && value.every(isWholeNumber));
    return [this.#read<number | readonly number[]>(key, isEither, "a whole number or a list of them", [])].flat();
  }

  text(key: string): string | null {
    return this.#read<string | null>(key, (value): value is string => typeof value === "string", "a string", null);
  }

  texts(key: string): readonly string[] {
    return this.#read<readonly string[]>(key, isTexts, "a list of strings", []);
  }

  /** A string or a list of strings. */
  textOrTexts(key: string): string | readonly string[] | null {
    const isEither = (value: unknown): value is string | readonly string[] =>
      typeof value === "string" || isTexts(value);
    return this.#read<string | readonly string[] | null>(key, isEither, "a string or a list of strings", null);
  }

  /** The unknown keys of the object at `key`, with `key` as prefix. */
  unknownKeys(key: string, known: ReadonlySet<string>): string[] {
    const object = this.#read<Fields>(key, isObject, "an object", {});
    return Object.keys(object)
      .filter((name) => !known.has(name))
      .map((name) => `${this.#prefix}${key}.${name}`);
  }

  /** Patterns and their ranks, in the file's order. */
  ranks(key: string): PatternEntries {
    return this.entries(key, isPositiveInteger, "a positive whole number");
  }

  positiveNumbers(key: string, most: number): PatternEntries {
    return this.entries(key, this.#isWithin(most), `a number above 0, up to ${most},`);
  }

  #isWithin(most: number): (value: unknown) => value is number {
    return (value): value is number => isNumber(value) && (this.#trusted || (value > 0 && value <= most));
  }

  /** An object's entries whose values pass the check, in the file's order. */
  entries<T>(key: string, check: (value: unknown) => value is T, allowed: string): (readonly [string, T])[] {
    const object = this.#read<Fields>(key, isObject, "an object", {});
    const entries: (readonly [string, T])[] = [];
    for (const [name, value] of Object.entries(object)) {
      if (check(value)) entries.push([name, value]);
      else this.#faults.invalid(`${this.#prefix}${key}[${quote(name)}] is ${quote(value)}; ${allowed} is allowed`);
    }
    return entries;
  }

  #read<T>(key: string, check: (value: unknown) => value is T, allowed: string, fallback: T): T {
    const value = this.#fields[key];
    if (value === undefined || value === null) return fallback;
    if (check(value)) return value;
    this.#faults.invalid(`${this.#prefix}${key} is ${quote(value)}; ${allowed} is allowed`);
    return fallback;
  }
}

function isNumber(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value);
}

function isWholeNumber(value: unknown): value is number {
  return Number.isSafeInteger(value);
}

function isPositiveInteger(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value > 0;
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((entry) => typeof entry === "string");
}
