/**
 * Reads CSV (RFC 4180: quoted fields, doubled quotes, line breaks inside quotes, either line ending) and TSV, where a quote that does not
 * enclose a whole field is an ordinary character.
 */

export interface CsvRecord {
  /** The line on which the record begins, from 1. */
  readonly line: number;
  readonly fields: readonly string[];
}

/** Malformed text; `line` is the first line of the record. */
export class CsvFault extends Error {
  readonly line: number;

  constructor(line: number, message: string) {
    super(message);
    this.line = line;
  }
}

/** The records of a text, without blank lines. In comma-separated text, throws CsvFault for an unclosed quote or one inside an unquoted field. */
export function* parseCsv(text: string, delimiter: "," | "\t" = ","): Generator<CsvRecord> {
  let at = text.startsWith("\ufeff") ? 1 : 0;
  let line = 1;
  while (at < text.length) {
    const begin = line;
    const fields: string[] = [];
    for (;;) {
      const field = delimiter === "\t" ? tabbed(text, at) : commaSeparated(text, at, begin);
      fields.push(field.value);
      for (let i = at; i < field.end; i++) if (text[i] === "\n") line++;
      at = field.end;
      if (text[at] !== delimiter) break;
      at++;
    }
    if (text.startsWith("\r\n", at)) at += 2;
    else if (at < text.length) at++;
    line++;
    if (fields.length > 1 || fields[0] !== "") yield { line: begin, fields };
  }
}

interface Field {
  readonly value: string;
  /** Position of the next comma or line ending, or the end of the text. */
  readonly end: number;
}

/** The end of an unquoted field. */
function endOfBare(text: string, begin: number, delimiter: string): number {
  let end = begin;
  while (end < text.length && text[end] !== delimiter && text[end] !== "\n" && text[end] !== "\r") end++;
  return end;
}

function commaSeparated(text: string, begin: number, line: number): Field {
  if (text[begin] === '"') return quoted(text, begin, line);
  const end = endOfBare(text, begin, ",");
  const value = text.slice(begin, end);
  if (value.includes('"')) throw new CsvFault(line, 'a field that contains " must be quoted, with "" for each quote');
  return { value, end };
}

function tabbed(text: string, begin: number): Field {
  const whole = /"((?:[^"\t\r\n]|"")*)"(?=[\t\r\n]|$)/y;
  whole.lastIndex = begin;
  const enclosed = whole.exec(text)?.[1];
  if (enclosed !== undefined) return { value: enclosed.replaceAll('""', '"'), end: whole.lastIndex };
  const end = endOfBare(text, begin, "\t");
  return { value: text.slice(begin, end), end };
}

function quoted(text: string, begin: number, line: number): Field {
  let value = "";
  let from = begin + 1;
  for (;;) {
    const quote = text.indexOf('"', from);
    if (quote < 0) throw new CsvFault(line, "a quoted field is never closed");
    value += text.slice(from, quote);
    if (text[quote + 1] !== '"') return closed(text, { value, end: quote + 1 }, line);
    value += '"';
    from = quote + 2;
  }
}

function closed(text: string, field: Field, line: number): Field {
  const next = text[field.end];
  if (next === undefined || next === "," || next === "\n" || next === "\r") return field;
  throw new CsvFault(
    line,
    `a quoted field must be followed by a comma or the line's end, not by ${JSON.stringify(next)}`,
  );
}
