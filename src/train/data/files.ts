/** Reads the records of a data file, each with its file and line. */

import { createHash } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { LorikeetError } from "../../base/errors.js";
import { zip } from "../../base/list.js";
import { CsvFault, parseCsv } from "./csv.js";
import type { DataFaults, Place } from "./faults.js";
import { type DataFile, type FileFormat, formatOf } from "./folder.js";
import { readJsonFile, readJsonLines } from "./json-rows.js";
import { readParquet } from "./parquet.js";

/** One record of a file. `text`: the content of a .txt file; otherwise one row's fields by name. */
export type RawRecord =
  | { readonly kind: "text"; readonly place: Place; readonly text: string }
  | { readonly kind: "row"; readonly place: Place; readonly fields: Readonly<Record<string, unknown>> };

export interface ReadFile {
  readonly records: readonly RawRecord[];
  /** SHA-256 of the bytes, in hex. */
  readonly sha256: string;
}

/** Maximum bytes of a file, compressed or not: a string of Node.js cannot hold more. */
const maxFileBytes = 2 ** 29 - 2 ** 10;
const maxParquetRows = 10_000_000;

const unzip = promisify(gunzip);

/** Reads a whole file. Unreadable records become faults. Throws `too_large`. */
export async function readDataFile({ path }: DataFile, faults: DataFaults): Promise<ReadFile> {
  const { size } = await stat(path);
  if (size > maxFileBytes) {
    const message = `The data ${path} has ${size} bytes; at most ${maxFileBytes} are read from one file.`;
    throw new LorikeetError("too_large", message, { param: "--data", found: size, allowed: maxFileBytes });
  }
  const bytes = await readFile(path);
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  const format = formatOf(path) ?? { extension: ".jsonl", isGzip: false };
  const unpacked = format.isGzip ? await unpack(path, bytes, faults) : bytes;
  const records = unpacked ? await recordsOf(path, unpacked, format, faults) : [];
  return { records, sha256 };
}

async function unpack(path: string, bytes: Uint8Array, faults: DataFaults): Promise<Buffer<ArrayBuffer> | null> {
  try {
    return await unzip(bytes, { maxOutputLength: maxFileBytes });
  } catch (cause) {
    if (cause instanceof Error && "code" in cause && cause.code === "ERR_BUFFER_TOO_LARGE") {
      const message = `The data ${path} unpacks to more than the ${maxFileBytes} bytes that are read from one file.`;
      throw new LorikeetError("too_large", message, { param: "--data", allowed: maxFileBytes, cause });
    }
    faults.add(
      { file: path, line: 1 },
      `is not a complete gzip file (${cause instanceof Error ? cause.message : cause})`,
    );
    return null;
  }
}

async function recordsOf(
  file: string,
  bytes: Uint8Array<ArrayBuffer>,
  { extension }: FileFormat,
  faults: DataFaults,
): Promise<RawRecord[]> {
  if (extension === ".parquet") return parquetRows(file, bytes, faults);
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    faults.add({ file, line: firstBadLine(bytes) }, "is not UTF-8 text");
    return [];
  }
  switch (extension) {
    case ".txt":
      return text.trim() === "" ? [] : [{ kind: "text", place: { file, line: 1 }, text }];
    case ".csv":
      return csvRows(file, text, ",", faults);
    case ".tsv":
      return csvRows(file, text, "\t", faults);
    default: {
      const rows = extension === ".json" ? readJsonFile(file, text, faults) : readJsonLines(file, text, faults);
      return rows.map(({ line, fields }) => ({ kind: "row", place: { file, line }, fields }));
    }
  }
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

/** A row's line is its number. */
async function parquetRows(file: string, bytes: Uint8Array<ArrayBuffer>, faults: DataFaults): Promise<RawRecord[]> {
  try {
    const rows = await readParquet(file, bytes, maxParquetRows);
    return rows.map((fields, i) => ({ kind: "row", place: { file, line: i + 1 }, fields }));
  } catch (error) {
    if (error instanceof LorikeetError) throw error;
    faults.add({ file, line: 1 }, `is not a readable Parquet file (${error instanceof Error ? error.message : error})`);
    return [];
  }
}

function csvRows(file: string, text: string, delimiter: "," | "\t", faults: DataFaults): RawRecord[] {
  const rows: RawRecord[] = [];
  let header: readonly string[] | null = null;
  try {
    for (const { line, fields } of parseCsv(text, delimiter)) {
      const place = { file, line };
      if (!header) {
        header = fields.map((name) => name.trim());
        const twice = header.find((name, i) => header?.indexOf(name) !== i);
        if (twice !== undefined) faults.add(place, `names the column ${JSON.stringify(twice)} twice`);
      } else if (fields.length !== header.length) {
        faults.add(place, `has ${fields.length} fields where the first line names ${header.length}`);
      } else {
        // An empty cell is a missing field.
        const pairs = zip(header, fields);
        rows.push({ kind: "row", place, fields: Object.fromEntries(pairs.filter(([, value]) => value !== "")) });
      }
    }
  } catch (error) {
    if (!(error instanceof CsvFault)) throw error;
    faults.add({ file, line: error.line }, error.message);
  }
  return rows;
}
