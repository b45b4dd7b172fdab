/** Typed reading of a stranger's JSON object: null equals absent, and every wrong type is noted as a fault. Knows no key. */

import { type Faults, quote } from "./faults.js";
import type { PatternEntries } from "./patterns.js";

export type Fields = Readonly<Record<string, unknown>>;

/** Reads typed fields; null equals absent; a wrong type is a fault and reads as the default. */
export class FieldReader {
  readonly #fields: Fields;
  readonly #faults: Faults;
  readonly #prefix: string;

  constructor(fields: Fields, faults: Faults, prefix = "") {
    this.#fields = fields;
    this.#faults = faults;
    this.#prefix = prefix;
  }

  flag(key: string): boolean {
    return this.#read(key, (value) => typeof value === "boolean", "true or false", false);
  }

  number(key: string, fallback: number): number {
    return this.#read(key, isNumber, "a finite number", fallback);
  }

  positiveInteger(key: string, fallback: number): number {
    return this.#read(key, isPositiveInteger, "a positive whole number", fallback);
  }

  text(key: string): string | null {
    return this.#read<string | null>(key, (value): value is string => typeof value === "string", "a string", null);
  }

  texts(key: string): readonly string[] {
    return this.#read<readonly string[]>(key, isTexts, "a list of strings", []);
  }

  /** Patterns with ranks, in the order of the file. */
  ranks(key: string): PatternEntries {
    return this.entries(key, isPositiveInteger, "a positive whole number");
  }

  numbers(key: string): PatternEntries {
    return this.entries(key, isNumber, "a finite number");
  }

  /** An object's entries whose values pass the check, in the order of the file. */
  entries<T>(key: string, check: (value: unknown) => value is T, allowed: string): (readonly [string, T])[] {
    const object = this.#read<Fields>(key, isRecord, "an object", {});
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

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isNumber(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value);
}

function isPositiveInteger(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value > 0;
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((entry) => typeof entry === "string");
}
