/**
 * Typed reads of a JSON object. Faults are collected, not thrown: a failed read returns its default, so that one pass finds all
 * faults.
 */

import { LorikeetError } from "../../base/errors.js";
import { type Json, shown } from "../../base/json.js";

/** Collects the faults of a model: what is invalid, and what is valid but not supported. */
export class Faults {
  readonly #list: string[] = [];
  #unsupported = false;

  get list(): readonly string[] {
    return this.#list;
  }

  invalid(fault: string): void {
    this.#list.push(fault);
  }

  unsupported(fault: string): void {
    this.#unsupported = true;
    this.#list.push(fault);
  }

  /** Throws one error with all faults, if there are any; its message names the first ones. */
  throwIfAny(subject: string): void {
    const { length } = this.#list;
    if (length === 0) return;
    const named = this.#list.slice(0, 8).join("; ");
    const more = length > 8 ? `; and ${length - 8} more` : "";
    const code = this.#unsupported ? "model_unsupported" : "model_invalid";
    const count = length === 1 ? "" : `${length} faults: `;
    throw new LorikeetError(code, `${subject}: ${count}${named}${more}.`, { faults: this.#list });
  }
}

export interface NumberBounds {
  readonly min?: number;
  readonly max?: number;
}

const maxInteger = 2 ** 31 - 1;

/** One JSON object under a name that messages use: `config.json`, or `config.json rope_parameters`. */
export class ConfigFields {
  readonly #json: Json;
  readonly #where: string;
  readonly #synonyms: Readonly<Record<string, string>>;
  readonly faults: Faults;

  /** `synonyms` maps a key to another one that takes precedence if it is present. */
  constructor(json: Json, where: string, faults: Faults, synonyms: Readonly<Record<string, string>> = {}) {
    this.#json = json;
    this.#where = where;
    this.#synonyms = synonyms;
    this.faults = faults;
  }

  get keys(): readonly string[] {
    return Object.keys(this.#json);
  }

  /** The value of an own key, or undefined. */
  raw(key: string): unknown {
    const spelled = this.#spelled(key);
    return Object.hasOwn(this.#json, spelled) ? this.#json[spelled] : undefined;
  }

  /** Whether the key is present and not null. */
  has(key: string): boolean {
    return this.raw(key) !== undefined && this.raw(key) !== null;
  }

  name(key: string): string {
    return `${this.#where} ${this.#spelled(key)}`;
  }

  /** These fields with another value under a key. */
  with(key: string, value: Json): ConfigFields {
    return new ConfigFields({ ...this.#json, [this.#spelled(key)]: value }, this.#where, this.faults, this.#synonyms);
  }

  /** The object under a key. */
  nested(key: string, json: Json): ConfigFields {
    return new ConfigFields(json, this.name(key), this.faults);
  }

  /** A whole number within bounds (default 1 to 2^31 − 1); `absent` if the key is missing. */
  integer(key: string, absent: number, bounds: NumberBounds = {}): number {
    const { min = 1, max = maxInteger } = bounds;
    const value = this.raw(key);
    if (value === undefined) return absent;
    if (typeof value === "number" && Number.isInteger(value) && value >= min && value <= max) return value;
    return this.#wrong(key, value, `a whole number from ${min} to ${max}`, absent);
  }

  /** A whole number, or `whenNull` if the key holds null. */
  integerOrNull<N extends number | null>(key: string, absent: number | N, whenNull: N): number | N {
    if (this.raw(key) === undefined) return absent;
    if (this.raw(key) === null) return whenNull;
    return this.integer(key, absent ?? 1);
  }

  /** A finite number above zero. */
  positive(key: string, absent: number): number {
    const value = this.raw(key);
    if (value === undefined) return absent;
    if (typeof value === "number" && Number.isFinite(value) && value > 0) return value;
    return this.#wrong(key, value, "a number above zero", absent);
  }

  positiveOrNull(key: string, absent: number | null): number | null {
    const value = this.raw(key);
    if (value === undefined) return absent;
    return value === null ? null : this.positive(key, absent ?? 1);
  }

  boolean(key: string, absent: boolean): boolean {
    const value = this.raw(key);
    if (value === undefined || value === null) return absent;
    return typeof value === "boolean" ? value : this.#wrong(key, value, "true or false", absent);
  }

  string(key: string, absent: string): string {
    const value = this.raw(key);
    if (value === undefined || value === null) return absent;
    return typeof value === "string" ? value : this.#wrong(key, value, "a string", absent);
  }

  #spelled(key: string): string {
    const synonym = this.#synonyms[key];
    return synonym !== undefined && Object.hasOwn(this.#json, synonym) ? synonym : key;
  }

  #wrong<T>(key: string, found: unknown, allowed: string, fallback: T): T {
    this.faults.invalid(`${this.name(key)} is ${shown(found)}, but must be ${allowed}`);
    return fallback;
  }
}
