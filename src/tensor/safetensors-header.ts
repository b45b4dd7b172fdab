/**
 * The header of a safetensors file, parsed and validated before anything is allocated for a tensor. Refuses unknown dtypes,
 * shapes that do not match their byte range, ranges outside the file, overlaps and duplicate names.
 * Format: https://github.com/huggingface/safetensors#format
 */

import { isObject } from "../base/json.js";
import { type Dtype, dtypeSizes, dtypes, isDtype } from "./dtype.js";
import { jsonBounds } from "./json-bounds.js";
import { formatShape } from "./shape.js";

export interface StoredTensor {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** From the start of the file, in bytes. */
  readonly offset: number;
  readonly byteLength: number;
}

export interface SafetensorsHeader {
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
}

export interface HeaderLimits {
  readonly maxTensors: number;
}

/** An invalid header. The message is a clause to follow the file's name. */
export class HeaderFault extends Error {
  readonly found: unknown;
  readonly allowed: unknown;

  constructor(message: string, found: unknown, allowed: unknown) {
    super(message);
    this.found = found;
    this.allowed = allowed;
  }
}

const maxDepth = 3; // {name: {shape: [...]}}
const maxAxes = 16;
/** The most keys, objects, lists and commas of one tensor's entry, with the commas of a shape. */
const partsOfTensor = 4 + 3 + 4 + maxAxes;
const maxMetadata = 8192;

/** Parses and validates a header. `dataStart` is the offset of the first tensor byte in the file, `fileBytes` the file's size. Throws HeaderFault. */
export function parseHeader(
  bytes: Uint8Array,
  dataStart: number,
  fileBytes: number,
  limits: HeaderLimits,
): SafetensorsHeader {
  const entries = parseEntries(bytes, limits);
  const count = entries.filter(([name]) => name !== "__metadata__").length;
  if (count > limits.maxTensors) {
    throw new HeaderFault(`lists ${count} tensors; at most ${limits.maxTensors} are allowed`, count, limits.maxTensors);
  }
  const tensors = new Map<string, StoredTensor>();
  let metadata: Record<string, string> = {};
  for (const [name, value] of entries) {
    if (name === "__metadata__") metadata = parseMetadata(value);
    else tensors.set(name, parseTensor(name, value, dataStart, fileBytes));
  }
  checkOverlaps(tensors);
  return { metadata, tensors };
}

function parseEntries(bytes: Uint8Array, { maxTensors }: HeaderLimits): [string, unknown][] {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new HeaderFault("has a header that is not UTF-8 text", "bytes that are not UTF-8", "a JSON object in UTF-8");
  }
  const maxParts = maxTensors * partsOfTensor + maxMetadata;
  const { depth, duplicates, parts } = jsonBounds(text, { maxDepth, maxParts });
  if (depth > maxDepth) {
    throw new HeaderFault(`has a header nested deeper than ${maxDepth} levels`, depth, maxDepth);
  }
  if (parts > maxParts) {
    const what = `it lists more than ${maxTensors} tensors, or something that is not a tensor`;
    throw new HeaderFault(
      `has a header of more than ${maxParts} keys, objects, lists and commas: ${what}`,
      parts,
      maxParts,
    );
  }
  if (duplicates.length > 0) {
    throw new HeaderFault(`names ${quoted(duplicates[0])} twice in its header`, duplicates, "each name once");
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.slice(0, 120) : "not JSON";
    throw new HeaderFault(`has a header that is not JSON (${reason})`, text.slice(0, 40), "a JSON object");
  }
  if (!isObject(json)) throw new HeaderFault("has a header that is not a JSON object", typeof json, "a JSON object");
  return Object.entries(json);
}

function parseMetadata(value: unknown): Record<string, string> {
  if (!isObject(value)) throw new HeaderFault("has __metadata__ that is not an object", value, "an object of strings");
  const metadata: Record<string, string> = Object.create(null);
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== "string") {
      throw new HeaderFault(`has a __metadata__ value of ${quoted(key)} that is not a string`, text, "a string");
    }
    metadata[key] = text;
  }
  return metadata;
}

function parseTensor(name: string, value: unknown, dataStart: number, fileBytes: number): StoredTensor {
  const where = `describes tensor ${quoted(name)} with`;
  if (!isObject(value)) throw new HeaderFault(`${where} no object`, value, "dtype, shape and data_offsets");
  for (const key of Object.keys(value)) {
    if (key !== "dtype" && key !== "shape" && key !== "data_offsets") {
      throw new HeaderFault(`${where} the unknown key ${quoted(key)}`, key, "dtype, shape and data_offsets");
    }
  }
  const { dtype, shape, data_offsets: range } = value;
  if (!isDtype(dtype)) {
    throw new HeaderFault(`${where} dtype ${quoted(dtype)}; known are ${dtypes.join(", ")}`, dtype, dtypes);
  }
  if (!isSizes(shape) || shape.length > maxAxes) {
    throw new HeaderFault(`${where} a shape that is not up to ${maxAxes} whole sizes`, shape, "whole sizes");
  }
  if (!isSizes(range) || range.length !== 2) {
    throw new HeaderFault(`${where} data_offsets that are not two whole numbers`, range, "[begin, end]");
  }
  const [begin = 0, end = 0] = range;
  const dataBytes = fileBytes - dataStart;
  if (begin > end || end > dataBytes) {
    throw new HeaderFault(
      `${where} the byte range ${begin} to ${end}, outside the ${dataBytes} bytes that the file holds for tensors${end > dataBytes ? " (was it cut short?)" : ""}`,
      range,
      `0 to ${dataBytes}`,
    );
  }
  const expected = byteSize(dtype, shape);
  if (expected !== end - begin) {
    throw new HeaderFault(
      `${where} ${end - begin} bytes, but ${dtype} ${formatShape(shape)} takes ${expected} bytes`,
      end - begin,
      expected,
    );
  }
  return { dtype, shape, offset: dataStart + begin, byteLength: end - begin };
}

/** Sizes are safe integers, but their product may overflow; a zero anywhere makes it zero. */
function byteSize(dtype: Dtype, shape: readonly number[]): number {
  return shape.includes(0) ? 0 : shape.reduce((product, size) => product * size, dtypeSizes[dtype]);
}

function checkOverlaps(tensors: ReadonlyMap<string, StoredTensor>): void {
  const filled = [...tensors].filter(([, tensor]) => tensor.byteLength > 0);
  filled.sort(([, left], [, right]) => left.offset - right.offset);
  for (let i = 1; i < filled.length; i++) {
    const [previousName, previous] = filled[i - 1] as [string, StoredTensor];
    const [name, tensor] = filled[i] as [string, StoredTensor];
    if (previous.offset + previous.byteLength > tensor.offset) {
      throw new HeaderFault(
        `has overlapping tensors ${quoted(previousName)} and ${quoted(name)}`,
        tensor.offset,
        `from byte ${previous.offset + previous.byteLength}`,
      );
    }
  }
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}

/** An untrusted string for a message: quoted and truncated. */
function quoted(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 160 ? `${text.slice(0, 157)}..."` : text;
}
