/** Finds the files of a data set and reads their records, each with its line. Knows the file formats, not what a row means. */
import { createHash } from "node:crypto";
import { readdir, readFile, stat } from "node:fs/promises";
import { basename, extname, join } from "node:path";
import { LorikeetError } from "../../base/errors.js";
import { CsvFault, parseCsv } from "./csv.js";
import type { DataFaults, Place } from "./faults.js";

export type SplitName = "train" | "valid" | "test";

export interface DataFile {
  readonly path: string;
  readonly split: SplitName;
}

/** One record of a file. `text`: the whole of a .txt file, else one row's fields by name. */
export type RawRecord =
  | { readonly kind: "text"; readonly place: Place; readonly text: string }
  | { readonly kind: "row"; readonly place: Place; readonly fields: Readonly<Record<string, unknown>> };

const extensions = [".jsonl", ".csv", ".txt"];
const splitOf: Readonly<Record<string, SplitName>> = {
  train: "train",
  training: "train",
  valid: "valid",
  validation: "valid",
  val: "valid",
  test: "test",
};

/**
 * The files of `--data`: one file, or those of a folder that are named train, valid (validation, val) or test. Throws
 * `data_invalid` when there is none to train on, or two for one split.
 */
export async function findDataFiles(path: string): Promise<DataFile[]> {
  const status = await stat(path).catch(() => null);
  if (!status) throw invalid(`The data ${path} does not exist.`, path);
  if (!status.isDirectory()) {
    if (isKnown(path)) return [{ path, split: "train" }];
    throw invalid(`The data ${path} must end in ${extensions.join(", ")}.`, path);
  }
  const files: DataFile[] = [];
  for (const name of (await readdir(path)).sort()) {
    const split = splitOf[basename(name, extname(name)).toLowerCase()];
    if (!split || !isKnown(name)) continue;
    const other = files.find((file) => file.split === split);
    if (other)
      throw invalid(`The folder ${path} has two files for ${split}: ${basename(other.path)} and ${name}.`, path);
    files.push({ path: join(path, name), split });
  }
  if (files.length > 0) return files;
  throw invalid(`The folder ${path} has no train, valid or test file that ends in ${extensions.join(", ")}.`, path);
}

const isKnown = (path: string): boolean => extensions.includes(extname(path).toLowerCase());

function invalid(message: string, found: string): LorikeetError {
  return new LorikeetError("data_invalid", message, { param: "--data", found, allowed: extensions });
}

export interface ReadFile {
  readonly records: readonly RawRecord[];
  /** SHA-256 of the bytes, in hex. */
  readonly sha256: string;
}

/** Bytes of one file: more than this is no text of Node's. */
const maxFileBytes = 2 ** 29 - 2 ** 10;

/** Reads a whole file. Records that cannot be read are faults. Throws `too_large`. */
export async function readDataFile({ path }: DataFile, faults: DataFaults): Promise<ReadFile> {
  const { size } = await stat(path);
  if (size > maxFileBytes) {
    const message = `The data ${path} has ${size} bytes; at most ${maxFileBytes} are read from one file.`;
    throw new LorikeetError("too_large", message, { param: "--data", found: size, allowed: maxFileBytes });
  }
  const bytes = await readFile(path);
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    faults.add({ file: path, line: firstBadLine(bytes) }, "is not UTF-8 text");
    return { records: [], sha256 };
  }
  return { records: recordsOf(path, text, faults), sha256 };
}

function firstBadLine(bytes: Uint8Array): number {
  let line = 1;
  for (let begin = 0; begin < bytes.length; line++) {
    const end = bytes.indexOf(10, begin);
    const stop = end < 0 ? bytes.length : end;
    try {
      new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(begin, stop));
    } catch {
      return line;
    }
    begin = stop + 1;
  }
  return line;
}

function recordsOf(path: string, text: string, faults: DataFaults): RawRecord[] {
  switch (extname(path).toLowerCase()) {
    case ".txt":
      return text.trim() === "" ? [] : [{ kind: "text", place: { file: path, line: 1 }, text }];
    case ".csv":
      return csvRows(path, text, faults);
    default:
      return jsonRows(path, text, faults);
  }
}

function jsonRows(file: string, text: string, faults: DataFaults): RawRecord[] {
  const rows: RawRecord[] = [];
  for (const [i, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue;
    const place = { file, line: i + 1 };
    try {
      const value: unknown = JSON.parse(line);
      if (isRecord(value)) rows.push({ kind: "row", place, fields: value });
      else faults.add(place, "is not a JSON object");
    } catch (error) {
      faults.add(place, `is not JSON (${error instanceof Error ? error.message.slice(0, 120) : "unreadable"})`);
    }
  }
  return rows;
}

function csvRows(file: string, text: string, faults: DataFaults): RawRecord[] {
  const rows: RawRecord[] = [];
  let header: readonly string[] | null = null;
  try {
    for (const { line, fields } of parseCsv(text)) {
      const place = { file, line };
      if (!header) {
        header = fields.map((name) => name.trim());
        const twice = header.find((name, i) => header?.indexOf(name) !== i);
        if (twice !== undefined) faults.add(place, `names the column ${JSON.stringify(twice)} twice`);
      } else if (fields.length !== header.length) {
        faults.add(place, `has ${fields.length} fields where the first line names ${header.length}`);
      } else {
        // A cell that holds nothing is a field that is not there.
        const pairs = header.map((name, i): [string, string] => [name, fields[i] ?? ""]);
        rows.push({ kind: "row", place, fields: Object.fromEntries(pairs.filter(([, value]) => value !== "")) });
      }
    }
  } catch (error) {
    if (!(error instanceof CsvFault)) throw error;
    faults.add({ file, line: error.line }, error.message);
  }
  return rows;
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
