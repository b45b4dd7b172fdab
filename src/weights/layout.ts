/**
 * The layout of a prepared file, known before any weight is read: parts and their shapes, byte ranges aligned to 64, and the
 * header. It is a valid safetensors file: gaps are tensors named `pad.<offset>`.
 */

import { assert, LorikeetError } from "../base/errors.js";
import { at } from "../base/list.js";
import type { TensorLocation } from "../model/types.js";
import type { WeightForm } from "../model/weights.js";
import { type Dtype, dtypeSizes } from "../tensor/dtype.js";
import { elementCount, formatShape, sameShape } from "../tensor/shape.js";
import type { WeightPlanEntry } from "./plan.js";
import { blockCount, blockSize } from "./quantize.js";

export const alignment = 64;

/** A weight of the plan with its stored tensors. */
export interface Weight {
  readonly name: string;
  readonly entry: WeightPlanEntry;
  readonly sources: readonly TensorLocation[];
  /** As stored, joined along the outputs (for a rounded copy, those of the original weight). */
  readonly shape: readonly number[];
  /** The outputs of a matrix; else the number of elements. */
  readonly rows: number;
  /** The inputs of a matrix; else 1. */
  readonly columns: number;
}

export interface Part {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
}

/** The byte ranges of a weight's parts, large enough for any form that it may take. */
export interface Place {
  readonly dataOffset: number;
  readonly scalesOffset: number;
}

export interface Layout {
  readonly places: ReadonlyMap<string, Place>;
  /** Where the data begins: the upper bound of the header. */
  readonly dataStart: number;
  readonly fileBytes: number;
}

const floats: ReadonlySet<string> = new Set(["F32", "F16", "BF16", "F64"]);

/** Checks an entry against its stored tensors. Throws `model_invalid`. */
export function resolveWeight(
  name: string,
  entry: WeightPlanEntry,
  tensors: ReadonlyMap<string, TensorLocation>,
): Weight {
  const sources = (entry.sources ?? [name]).map((source) => {
    const tensor = tensors.get(source);
    if (tensor) return tensor;
    throw new LorikeetError("model_invalid", `The checkpoint holds no tensor "${source}".`, { param: source });
  });
  const [first] = sources;
  assert(first, `"${name}" has a source`);
  const fault = (found: unknown, allowed: string): LorikeetError =>
    new LorikeetError(
      "model_invalid",
      `The weight "${name}" cannot become ${entry.form}: found ${found}, ${allowed}.`,
      {
        param: name,
        found,
        allowed,
      },
    );
  for (const source of sources) {
    if (entry.form !== "raw" && !floats.has(source.dtype))
      throw fault(source.dtype, "F32, F16, BF16 or F64 is allowed");
    const rest = source.shape.slice(1);
    if (!sameShape(rest, first.shape.slice(1)))
      throw fault(formatShape(source.shape), "joined parts have equal inputs");
  }
  const isMatrix = first.shape.length === 2;
  if (!isMatrix && entry.form !== "raw" && !isFloat(entry.form)) {
    throw fault(formatShape(first.shape), "only a matrix is quantized");
  }
  const isJoinable = entry.form !== "raw" && (!entry.transposed || entry.rounded !== undefined);
  assert(sources.length === 1 || isJoinable, `"${name}" cannot be joined`);
  const shape = joinedShape(sources);
  if (!isMatrix) return { name, entry, sources, shape, rows: elementCount(shape), columns: 1 };
  const [one, two] = [at(shape, 0), at(shape, 1)];
  const [rows, columns] = entry.transposed ? [two, one] : [one, two];
  return { name, entry, sources, shape, rows, columns };
}

/** The shape of tensors joined along their first axis; a scalar stays a scalar. */
function joinedShape(sources: readonly TensorLocation[]): number[] {
  const [first] = sources;
  if (!first || first.shape.length === 0) return [];
  return [sources.reduce((sum, { shape }) => sum + at(shape, 0), 0), ...first.shape.slice(1)];
}

/** Whether the checkpoint's bytes are used as they are, so nothing is written. */
export function isReferenced({ entry: { form }, sources }: Weight): boolean {
  const whole = sources.length === 1 ? sources[0]?.dtype : null;
  return form === "raw" || (form === "fp32" && whole === "F32") || (form === "fp16" && whole === "F16");
}

/** A form that keeps the stored layout. */
export const isFloat = (form: WeightForm): form is "fp32" | "fp16" => form === "fp32" || form === "fp16";

/** The parts of a weight in a form: data first, then scales. */
export function partsOf({ name, shape, rows, columns, entry }: Weight, form: WeightForm): Part[] {
  const blocks = blockCount(columns);
  switch (form) {
    case "raw":
    case "fp32":
      return [{ name, dtype: "F32", shape }];
    case "fp16":
      return [{ name, dtype: "F16", shape }];
    case "int4":
    case "int8":
      return [
        { name: `${name}.${form}`, dtype: "U8", shape: [rows, blocks, form === "int4" ? blockSize / 2 : blockSize] },
        { name: `${name}.scales`, dtype: entry.halfScales ? "F16" : "F32", shape: [rows, blocks] },
      ];
    case "int8row":
      return [
        { name: `${name}.int8row`, dtype: "I8", shape: [columns, rows] },
        { name: `${name}.scales`, dtype: "F32", shape: [rows] },
      ];
  }
}

/** The size of a part in bytes. */
export function partBytes({ dtype, shape }: Part): number {
  return elementCount(shape) * dtypeSizes[dtype];
}

/** Every form that a weight may take. */
function possibleForms({ entry }: Weight): WeightForm[] {
  return entry.form === "int8row" && entry.maxRowError !== undefined ? ["int8row", "int8"] : [entry.form];
}

/** Lays out all weights. `metadata` must be at least as long as that of the finished file. */
export function layOut(weights: readonly Weight[], metadata: Readonly<Record<string, string>>): Layout {
  // The longest possible header: every number at its longest, and a gap after every part.
  const longest = 2 ** 52;
  const worst = weights.flatMap((weight) =>
    possibleForms(weight).flatMap((form) =>
      partsOf(weight, form).flatMap((part) => [
        headerLine(part, longest, longest),
        headerLine({ name: `pad.${longest}`, dtype: "U8", shape: [longest] }, longest, longest),
      ]),
    ),
  );
  const dataStart = align(8 + Buffer.byteLength(joinHeader(worst, metadata)) + 8);
  const places = new Map<string, Place>();
  let offset = dataStart;
  for (const weight of weights) {
    const most = (part: number): number =>
      Math.max(...possibleForms(weight).map((form) => bytesOfPart(weight, form, part)));
    const scalesOffset = align(offset + most(0));
    places.set(weight.name, { dataOffset: offset, scalesOffset });
    offset = align(scalesOffset + most(1));
  }
  return { places, dataStart, fileBytes: offset };
}

function bytesOfPart(weight: Weight, form: WeightForm, index: number): number {
  const part = partsOf(weight, form)[index];
  return part ? partBytes(part) : 0;
}

/** The first `dataStart` bytes of the file: length, JSON, spaces. */
export function encodeHeader(
  layout: Layout,
  tensors: readonly (Part & { readonly offset: number })[],
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  const lines: string[] = [];
  let end = layout.dataStart;
  const pad = (to: number): void => {
    if (to > end) {
      const gap: Part = { name: `pad.${end}`, dtype: "U8", shape: [to - end] };
      lines.push(headerLine(gap, end - layout.dataStart, to - layout.dataStart));
    }
  };
  for (const part of [...tensors].sort((left, right) => left.offset - right.offset)) {
    pad(part.offset);
    end = part.offset + partBytes(part);
    lines.push(headerLine(part, part.offset - layout.dataStart, end - layout.dataStart));
  }
  pad(layout.fileBytes);
  const json = Buffer.from(joinHeader(lines, metadata));
  assert(json.length <= layout.dataStart - 8, "the header fits the space reserved for it");
  const header = Buffer.alloc(layout.dataStart, " ");
  header.writeBigUInt64LE(BigInt(layout.dataStart - 8));
  json.copy(header, 8);
  return header;
}

function headerLine({ name, dtype, shape }: Part, begin: number, end: number): string {
  return `${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [begin, end] })}`;
}

function joinHeader(lines: readonly string[], metadata: Readonly<Record<string, string>>): string {
  return `{${[`"__metadata__":${JSON.stringify(metadata)}`, ...lines].join(",")}}`;
}

function align(offset: number): number {
  return Math.ceil(offset / alignment) * alignment;
}
