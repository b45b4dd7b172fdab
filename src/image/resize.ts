/**
 * Resizes as Pillow does: two passes over bytes with weights of 22 bits, each rounded to bytes; rows first, but columns first where a
 * very tall picture is shortened. The result has Pillow's very bytes.
 */

import { int32At, uint8At } from "../base/list.js";
import type { RgbImage } from "./types.js";

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

/** Sizes are whole numbers above zero. */
export function resize(image: RgbImage, width: number, height: number, resample: Resample): RgbImage {
  if (image.width === width && image.height === height) return image;
  if (resample === "nearest") return nearest(image, width, height);
  const filter = filters[resample];
  const rows = (from: RgbImage): RgbImage =>
    from.width === width ? from : resizeRows(from, weightsOf(from.width, width, filter));
  const columns = (from: RgbImage): RgbImage =>
    from.height === height ? from : resizeColumns(from, weightsOf(from.height, height, filter));
  const isTall = image.height > image.width * 100 && height < image.height;
  return isTall ? rows(columns(image)) : columns(rows(image));
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

function weightsOf(from: number, size: number, { support, weight }: Filter): Weights {
  const scale = from / size;
  const stretch = Math.max(1, scale);
  const reach = support * stretch;
  const stride = Math.ceil(reach) * 2 + 1;
  const first = new Int32Array(size);
  const count = new Int32Array(size);
  const values = new Int32Array(size * stride);
  const inverse = 1 / stretch;
  for (let i = 0; i < size; i++) {
    const center = (i + 0.5) * scale;
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

function resizeColumns({ width, data }: RgbImage, weights: Weights): RgbImage {
  const out = new Uint8Array(width * weights.size * 3);
  let to = 0;
  for (let y = 0; y < weights.size; y++) {
    const row = int32At(weights.first, y) * width;
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

function nearest({ width: fromWidth, height: fromHeight, data }: RgbImage, width: number, height: number): RgbImage {
  const columns = nearestOf(fromWidth, width);
  const rows = nearestOf(fromHeight, height);
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
function nearestOf(from: number, size: number): Int32Array {
  const step = from / size;
  const chosen = new Int32Array(size);
  for (let i = 0, at = step * 0.5; i < size; i++, at += step) chosen[i] = Math.min(from - 1, Math.trunc(at));
  return chosen;
}
