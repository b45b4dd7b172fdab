/**
 * The prepared file: its header is written when all weights are converted and verified when the file is read from the cache. It
 * is a safetensors file that other programs can read.
 */

import { type FileHandle, open } from "node:fs/promises";
import { crc32 } from "node:zlib";
import * as v from "valibot";
import { LorikeetError } from "../../base/errors.js";
import { openRegular } from "../../base/files.js";
import { at } from "../../base/list.js";
import type { TensorLocation } from "../../model/types.js";
import type { PreparedWeight, WeightForm } from "../../model/weights.js";
import { SafetensorsFile } from "../../tensor/safetensors.js";
import { sameShape } from "../../tensor/shape.js";
import { encodeHeader, type Layout, type Part, type Place, partsOf, type Weight } from "../layout.js";
import { relativeError, rowLimits } from "../quantize.js";
import type { ConvertResult } from "./task.js";

export const formatVersion = "3";

const chunkBytes = 4 * 2 ** 20;

/** The result of a weight's conversion in the file's metadata: form, error, the error of abandoned rows (both to six digits), and the rows' limit, 0 for other forms. */
const recordSchema = v.tuple([
  v.picklist(["raw", "fp32", "fp16", "int4", "int8", "int8row"]),
  v.string(),
  v.string(),
  v.number(),
]);
const recordsSchema = v.record(v.string(), recordSchema);

type ConversionRecord = v.InferOutput<typeof recordSchema>;

export interface Outcome {
  readonly form: WeightForm;
  readonly error: number;
  readonly norm: number;
  readonly rowError: number | undefined;
}

/** Adds a task's result to the sum of its weight's. */
export function addResult(sum: Outcome | undefined, { form, error, norm, rowError }: ConvertResult): Outcome {
  return { form, error: (sum?.error ?? 0) + error, norm: (sum?.norm ?? 0) + norm, rowError };
}

/** Writes the header into the space that the layout reserved. */
export async function writeHeader(
  file: string,
  key: string,
  weights: readonly Weight[],
  layout: Layout,
  outcomes: ReadonlyMap<string, Outcome>,
): Promise<void> {
  const records: Record<string, ConversionRecord> = {};
  const parts: (Part & { offset: number })[] = [];
  for (const weight of weights) {
    const { form, error, norm, rowError } = outcomes.get(weight.name) ?? emptyOutcome(weight);
    const digits = (squares: number): string => relativeError({ error: squares, norm }).toPrecision(6);
    records[weight.name] = [
      form,
      digits(error),
      rowError === undefined ? "" : digits(rowError),
      rowLimitOf(weight, form),
    ];
    const { dataOffset, scalesOffset } = placeOf(layout, weight);
    const offsets = [dataOffset, scalesOffset];
    parts.push(...partsOf(weight, form).map((part, index) => ({ ...part, offset: at(offsets, index) })));
  }
  await using handle = await open(file, "r+");
  const checksum = await checksumFrom(handle, layout.dataStart);
  await handle.write(encodeHeader(layout, parts, metadataOf(key, records, checksum)), 0, layout.dataStart, 0);
}

/** CRC-32 of all bytes from a position to the file's end, 8 hexadecimal digits. Detects damage, not tampering. */
async function checksumFrom(handle: FileHandle, start: number): Promise<string> {
  const chunk = Buffer.allocUnsafe(chunkBytes);
  let checksum = 0;
  for (let position = start; ; ) {
    const { bytesRead } = await handle.read(chunk, 0, chunkBytes, position);
    if (bytesRead === 0) return checksum.toString(16).padStart(8, "0");
    checksum = crc32(chunk.subarray(0, bytesRead), checksum);
    position += bytesRead;
  }
}

function rowLimitOf({ entry }: Weight, form: WeightForm): number {
  return form === "int8row" ? (entry.rowLimit ?? rowLimits.full) : 0;
}

/** A weight without elements has no task. */
function emptyOutcome({ entry }: Weight): Outcome {
  return { form: entry.form, error: 0, norm: 0, rowError: undefined };
}

/** The place of a weight in the layout. Throws `internal` if it has none. */
export function placeOf(layout: Layout, { name }: Weight): Place {
  const place = layout.places.get(name);
  if (place) return place;
  throw new LorikeetError("internal", `The weight "${name}" has no place in its file.`);
}

function metadataOf(key: string, records: Record<string, ConversionRecord>, checksum: string): Record<string, string> {
  return { format: "lorikeet-weights", version: formatVersion, key, crc32: checksum, weights: JSON.stringify(records) };
}

/** Metadata at least as long as that of any finished file. */
export function longestMetadata(key: string, weights: readonly Weight[]): Record<string, string> {
  const longest: ConversionRecord = ["int8row", "0.00000000000", "0.00000000000", rowLimits.full]; // 1.23456e-300 is as long
  return metadataOf(key, Object.fromEntries(weights.map(({ name }) => [name, longest])), "0".repeat(8));
}

/** The weights of a prepared file; undefined if it is missing, damaged, or belongs to another key. */
export async function readPrepared(
  path: string,
  key: string,
  weights: readonly Weight[],
): Promise<PreparedWeight[] | undefined> {
  try {
    await using file = await SafetensorsFile.open(path, { code: "model_invalid" });
    const { metadata } = file;
    const isOurs = metadata.format === "lorikeet-weights" && metadata.version === formatVersion && metadata.key === key;
    if (!isOurs) return undefined;
    const records = v.parse(recordsSchema, JSON.parse(metadata.weights ?? "{}"));
    const prepared = weights.map((weight) => preparedOf(weight, file, records[weight.name]));
    if (!prepared.every((weight) => weight !== undefined)) return undefined;
    await using handle = await openRegular(path);
    const dataStart = [...file.tensors.values()].reduce((least, { offset }) => Math.min(least, offset), file.fileBytes);
    return (await checksumFrom(handle, dataStart)) === metadata.crc32 ? prepared : undefined;
  } catch (error) {
    if (error instanceof LorikeetError || error instanceof SyntaxError || error instanceof v.ValiError)
      return undefined;
    throw error;
  }
}

function preparedOf(
  weight: Weight,
  file: SafetensorsFile,
  record: ConversionRecord | undefined,
): PreparedWeight | undefined {
  if (!record) return undefined;
  const [form, error, rowError, rowLimit] = record;
  if (rowLimit !== rowLimitOf(weight, form)) return undefined;
  const locations: TensorLocation[] = [];
  for (const { name, dtype, shape } of partsOf(weight, form)) {
    const stored = file.tensors.get(name);
    if (!stored || stored.dtype !== dtype || !sameShape(stored.shape, shape)) return undefined;
    locations.push({ name, file: file.path, ...stored });
  }
  const [data, scales] = locations;
  if (!data) return undefined;
  return {
    ...commonOf(weight, form),
    data,
    ...(scales ? { scales } : {}),
    error: Number(error),
    ...(rowError ? { rowError: Number(rowError) } : {}),
    ...(rowLimit ? { rowLimit } : {}),
    bytes: locations.reduce((sum, { byteLength }) => sum + byteLength, 0),
  };
}

/** A weight that needs no conversion: a reference to the checkpoint's bytes. */
export function referenceOf(weight: Weight): PreparedWeight {
  const [data] = weight.sources;
  if (!data) throw new LorikeetError("internal", `The weight "${weight.name}" has no source.`);
  return { ...commonOf(weight, weight.entry.form), data, error: 0, bytes: data.byteLength };
}

function commonOf({ name, shape, sources, entry }: Weight, form: WeightForm) {
  return { name, form, shape, sources: sources.map((source) => source.name), transposed: entry.transposed ?? false };
}
