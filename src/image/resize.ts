/**
 * Resizes as Pillow does: two passes over bytes with weights of 22 bits, each rounded to bytes; rows first, but columns first where a
 * very tall picture is shortened. The result has Pillow's very bytes.
 */

import { int32At, uint8At } from "../base/list.js";
import type { RgbImage, Size } from "./types.js";

export const resampleFilters = ["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"] as const;
export type Resample = (typeof resampleFilters)[number];

interface Filter {
  /** How far it reaches, in pixels of the smaller picture. */
  readonly support: number;
  readonly weight: (x: number) => number;
}

const sinc = (x: number): number => (x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI));

const filters: Readonly<Record<Exclude<Resample, "nearest">, Filter>> = {
  box: { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  hamming: {
    support: 1,
    weight(x) {
      const far = Math.abs(x);
      if (far === 0) return 1;
      return far >= 1 ? 0 : sinc(far) * (0.54 + 0.46 * Math.cos(far * Math.PI));
    },
  },
  bicubic: {
    support: 2,
    weight(x) {
      const far = Math.abs(x);
      if (far < 1) return (1.5 * far - 2.5) * far * far + 1;
      return far < 2 ? (((far - 5) * far + 8) * far - 4) * -0.5 : 0;
    },
  },
  lanczos: { support: 3, weight: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

/** A part of a picture. */
export interface Window {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

/**
 * Sizes are whole numbers above zero. With a `window` only that part of the result is computed, to the same bytes: a strip may become
 * far larger than a crop keeps of it.
 */
export function resize(image: RgbImage, width: number, height: number, resample: Resample, window?: Window): RgbImage {
  const { left, top, ...size } = window ?? { left: 0, top: 0, width, height };
  if (image.width === width && image.height === height) return cut(image, { left, top, ...size });
  if (resample === "nearest") return nearest(image, { width, height }, { left, top, ...size });
  const filter = filters[resample];
  const across = image.width === width ? null : weightsOf(image.width, width, filter, left, size.width);
  const down = image.height === height ? null : weightsOf(image.height, height, filter, top, size.height);
  const rows = (from: RgbImage): RgbImage =>
    across ? resizeRows(from, across) : cut(from, { left, top: 0, width: size.width, height: from.height });
  if (down && image.height > image.width * 100 && height < image.height) return rows(resizeColumns(image, down));
  // Only the rows that the second pass reads.
  const [begin, end] = down ? [int32At(down.first, 0), endOf(down)] : [top, top + size.height];
  const read = rows(cut(image, { left: 0, top: begin, width: image.width, height: end - begin }));
  return down ? resizeColumns(read, down, begin) : read;
}

function cut(image: RgbImage, { left, top, width, height }: Window): RgbImage {
  const { width: from, data } = image;
  if (width === from) {
    if (height === image.height) return image;
    return { width, height, data: data.subarray(top * from * 3, (top + height) * from * 3) };
  }
  const out = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    const begin = ((top + y) * from + left) * 3;
    out.set(data.subarray(begin, begin + width * 3), y * width * 3);
  }
  return { width, height, data: out };
}

const precisionBits = 22;
const half = 1 << (precisionBits - 1);

/** For each pixel of the result: the pixels of the source it sums, and their weights. */
interface Weights {
  readonly size: number;
  readonly first: Int32Array;
  readonly count: Int32Array;
  /** [size, stride] */
  readonly values: Int32Array;
  readonly stride: number;
}

/** Of `size` pixels from `start` on, of a result of `whole` pixels. */
function weightsOf(from: number, whole: number, { support, weight }: Filter, start: number, size: number): Weights {
  const scale = from / whole;
  const stretch = Math.max(1, scale);
  const reach = support * stretch;
  const stride = Math.ceil(reach) * 2 + 1;
  const first = new Int32Array(size);
  const count = new Int32Array(size);
  const values = new Int32Array(size * stride);
  const inverse = 1 / stretch;
  for (let i = 0; i < size; i++) {
    const center = (start + i + 0.5) * scale;
    const begin = Math.max(0, Math.trunc(center - reach + 0.5));
    const end = Math.min(from, Math.trunc(center + reach + 0.5));
    const weights = Array.from({ length: end - begin }, (_, x) => weight((x + begin - center + 0.5) * inverse));
    const sum = weights.reduce((total, each) => total + each, 0);
    first[i] = begin;
    count[i] = weights.length;
    for (const [x, each] of weights.entries()) {
      const fixed = (sum === 0 ? each : each / sum) * (1 << precisionBits);
      values[i * stride + x] = Math.trunc(fixed < 0 ? fixed - 0.5 : fixed + 0.5);
    }
  }
  return { size, first, count, values, stride };
}

/** Behind the last pixel of the source that is summed. */
const endOf = ({ size, first, count }: Weights): number => int32At(first, size - 1) + int32At(count, size - 1);

function resizeRows({ width, height, data }: RgbImage, weights: Weights): RgbImage {
  const out = new Uint8Array(weights.size * height * 3);
  let to = 0;
  for (let y = 0; y < height; y++) {
    const row = y * width;
    for (let x = 0; x < weights.size; x++) {
      to = sumPixels(data, (row + int32At(weights.first, x)) * 3, 3, weights, x, out, to);
    }
  }
  return { width: weights.size, height, data: out };
}

/** `above` are the rows of the source that the picture lacks. */
function resizeColumns({ width, data }: RgbImage, weights: Weights, above = 0): RgbImage {
  const out = new Uint8Array(width * weights.size * 3);
  let to = 0;
  for (let y = 0; y < weights.size; y++) {
    const row = (int32At(weights.first, y) - above) * width;
    for (let x = 0; x < width; x++) to = sumPixels(data, (row + x) * 3, width * 3, weights, y, out, to);
  }
  return { width, height: weights.size, data: out };
}

/** Writes the weighted sum of the pixels at `from`, `from + step` and so on. Returns where the next goes. */
function sumPixels(
  data: Uint8Array,
  from: number,
  step: number,
  { values, count, stride }: Weights,
  index: number,
  out: Uint8Array,
  to: number,
): number {
  let [red, green, blue] = [half, half, half];
  const begin = index * stride;
  const end = begin + int32At(count, index);
  for (let i = begin, at = from; i < end; i++, at += step) {
    const weight = int32At(values, i);
    red += weight * uint8At(data, at);
    green += weight * uint8At(data, at + 1);
    blue += weight * uint8At(data, at + 2);
  }
  out[to] = toByte(red);
  out[to + 1] = toByte(green);
  out[to + 2] = toByte(blue);
  return to + 3;
}

/** Sums stay within 32 bits: weights add up to 1, and negative ones to little. */
function toByte(sum: number): number {
  const value = sum >> precisionBits;
  return value < 0 ? 0 : value > 255 ? 255 : value;
}

function nearest({ width: fromWidth, height: fromHeight, data }: RgbImage, whole: Size, window: Window): RgbImage {
  const { width, height } = window;
  const columns = nearestOf(fromWidth, whole.width, window.left, width);
  const rows = nearestOf(fromHeight, whole.height, window.top, height);
  const out = new Uint8Array(width * height * 3);
  let to = 0;
  for (let y = 0; y < height; y++) {
    const row = int32At(rows, y) * fromWidth;
    for (let x = 0; x < width; x++) {
      const from = (row + int32At(columns, x)) * 3;
      out[to++] = uint8At(data, from);
      out[to++] = uint8At(data, from + 1);
      out[to++] = uint8At(data, from + 2);
    }
  }
  return { width, height, data: out };
}

/** Steps are added up, not multiplied: rounding decides which pixel is nearest. */
function nearestOf(from: number, whole: number, start: number, size: number): Int32Array {
  const step = from / whole;
  const chosen = new Int32Array(size);
  for (let i = -start, at = step * 0.5; i < size; i++, at += step) {
    if (i >= 0) chosen[i] = Math.min(from - 1, Math.trunc(at));
  }
  return chosen;
}
