/** Rows of a Parquet file as plain values. The only file that imports the Parquet package. */
import { parquetMetadata, parquetReadObjects } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { LorikeetError } from "../../base/errors.js";

/** Throws `too_large` for more than `maxRows` rows, and the package's errors for a broken file. */
export async function readParquet(
  path: string,
  bytes: Uint8Array<ArrayBuffer>,
  maxRows: number,
): Promise<Readonly<Record<string, unknown>>[]> {
  const file = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
  const rows = Number(parquetMetadata(file).num_rows);
  if (rows > maxRows) {
    throw new LorikeetError("too_large", `The data ${path} has ${rows} rows; at most ${maxRows} are read.`, {
      param: "--data",
      found: rows,
      allowed: maxRows,
    });
  }
  return (await parquetReadObjects({ file, compressors })).map((row) => plainRecord(row));
}

function plainRecord(row: object): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(row).map(([key, value]) => [key, plain(value)]));
}

/** Converts values to JSON's: 64-bit integers to numbers, times to ISO 8601, lists to arrays. */
function plain(value: unknown): unknown {
  if (typeof value === "bigint") return Number(value);
  if (value instanceof Date) return value.toISOString();
  if (Array.isArray(value) || ArrayBuffer.isView(value)) return Array.from(value as ArrayLike<unknown>, plain);
  return typeof value === "object" && value !== null ? plainRecord(value) : value;
}
