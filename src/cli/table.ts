/** Aligned columns for a terminal. */

import { at } from "../base/list.js";

/** Rows under a header, padded to their widest cell; a column of numbers is right-aligned. */
export function formatTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = header.map((title, column) => Math.max(title.length, ...rows.map((row) => at(row, column).length)));
  const numeric = header.map(
    (_, column) => rows.length > 0 && rows.every((row) => /^[\d.,]+( [A-Za-z]+)?$|^$/.test(at(row, column))),
  );
  const line = (cells: readonly string[]): string =>
    widths
      .map((width, column) => (numeric[column] ? at(cells, column).padStart(width) : at(cells, column).padEnd(width)))
      .join("  ")
      .trimEnd();
  return [line(header), ...rows.map(line)].join("\n");
}

/** `name   value` lines, the names padded to one width. */
export function formatFields(fields: readonly (readonly [name: string, value: string])[]): string {
  const width = Math.max(...fields.map(([name]) => name.length));
  return fields.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join("\n");
}
