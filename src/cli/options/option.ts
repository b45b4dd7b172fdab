/** An option: its parser, default and help, and the values that a table of options gives. */

import { bytes, duration, formatBytes, formatDuration, integer, type Parser } from "./units.js";

export interface Option<T> {
  /** Shown in help after the flag; absent for a flag that takes no value. */
  readonly placeholder?: string;
  readonly parse: Parser<T>;
  /** null: computed later, or off; `shown` says which. */
  readonly fallback: T | null;
  /** The default as help shows it. */
  readonly shown: string;
  readonly help: string;
  readonly group: Group;
  /** May be given several times; a file may hold a list, and the environment variable separates values by commas. */
  readonly repeats?: true;
}

type Group =
  | "Responses"
  | "Fine-tuning"
  | ("Model" | "Engine" | "Adapters" | "Server" | "Streams" | "Limits" | "Logs" | "Text")
  | ("Data" | "Adapter" | "Training" | "Run");

export type OptionTable = Readonly<Record<string, Option<unknown>>>;
type Row<T> = Omit<Option<T>, "shown" | "fallback" | "group"> & { readonly shown?: string };

/** An option with a fixed default. */
export function given<T>(group: Group, fallback: T, row: Row<T>): Option<T> & { readonly fallback: T } {
  return { shown: String(fallback), ...row, fallback, group };
}

/** An option without a fixed default: computed later, or off. */
export function open<T>(group: Group, shown: string, row: Row<T>): Option<T> & { readonly fallback: T | null } {
  return { ...row, fallback: null, shown, group };
}

/** Joins the values of an option that repeats. No value contains it. */
export const valueSeparator = "\n";

/** An option that may be given several times, without a default. */
export function several<T>(
  group: Group,
  shown: string,
  row: Row<T>,
): Option<readonly T[]> & { readonly fallback: readonly T[] | null } {
  const parse: Parser<readonly T[]> = (text) => text.split(valueSeparator).map(row.parse);
  return { ...row, parse, fallback: null, shown, group, repeats: true };
}

/** A number of bytes. */
export function size(group: Group, fallback: number, help: string): Option<number> & { readonly fallback: number } {
  return given(group, fallback, { placeholder: "size", parse: bytes(), shown: formatBytes(fallback), help });
}

/** Milliseconds, in seconds unless a unit is given. */
export function time(group: Group, fallbackMs: number, help: string): Option<number> & { readonly fallback: number } {
  const shown = formatDuration(fallbackMs);
  return given(group, fallbackMs, { placeholder: "time", parse: duration("s"), shown, help });
}

/** How old something may become: no timer waits for it. Milliseconds, in seconds unless a unit is given, up to ten years. */
export function age(group: Group, fallbackMs: number, help: string): Option<number> & { readonly fallback: number } {
  const parse = duration("s", 1, 3650 * 86_400_000);
  return given(group, fallbackMs, { placeholder: "time", parse, shown: formatDuration(fallbackMs), help });
}

/** A whole number. */
export function count(
  group: Group,
  fallback: number,
  min: number,
  help: string,
): Option<number> & { readonly fallback: number } {
  return given(group, fallback, { placeholder: "n", parse: integer(min), help });
}

/** The values of a table's options. Only those without a fixed default may be null. */
export type Settings<Table extends OptionTable> = {
  readonly [Name in keyof Table]: Table[Name] extends { readonly parse: Parser<infer T>; readonly fallback: infer F }
    ? T | (null extends F ? null : never)
    : never;
};
