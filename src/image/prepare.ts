/** Pixels to the numbers that a model sees. */

import { float32At, uint8At } from "../base/list.js";
import { decodeImage } from "./decode.js";
import { invalidImage } from "./faults.js";
import {
  type CropRounding,
  type PreprocessPlan,
  resizedSize,
  roundHalfToEven,
  type Size,
  type ValueStep,
} from "./plan.js";
import { resize } from "./resize.js";
import type { RgbImage } from "./types.js";

/** One picture as a model's input. */
export interface PreparedImage {
  /** pixel_values, [channels, height, width] */
  readonly pixels: Float32Array<ArrayBuffer>;
  readonly shape: readonly [channels: number, height: number, width: number];
  /** pixel_mask, [height, width]: 1 where the picture is, 0 in padding. */
  readonly mask: BigInt64Array<ArrayBuffer>;
  /** The picture's own size, turned as its EXIF data says: boxes scale to it. */
  readonly original: Size;
}

const channels = 3;

/** Throws what `decodeImage` throws. */
export async function prepareImage(bytes: Uint8Array, plan: PreprocessPlan, maxPixels: number): Promise<PreparedImage> {
  return preparePixels(await decodeImage(bytes, maxPixels), plan);
}

export function preparePixels(image: RgbImage, plan: PreprocessPlan): PreparedImage {
  let changed = image;
  if (plan.resize) {
    const { width, height } = resizedSize(plan.resize.rule, image);
    changed = resize(image, width, height, plan.resize.resample);
  }
  if (plan.crop) changed = centerCrop(changed, plan.crop, plan.crop.rounding);
  const { width, height } = plan.pad ?? changed;
  if (changed.width > width || changed.height > height) {
    const size = `${changed.width}x${changed.height}`;
    throw invalidImage(`is ${size} before it is padded; at most ${width}x${height} fits the model`);
  }
  const mask = new BigInt64Array(width * height);
  for (let y = 0; y < changed.height; y++) mask.fill(1n, y * width, y * width + changed.width);
  return {
    pixels: toValues(changed, plan, { width, height }),
    shape: [channels, height, width],
    mask,
    original: { width: image.width, height: image.height },
  };
}

/** Black around a picture that is smaller. */
function centerCrop(
  { width: w, height: h, data }: RgbImage,
  { width, height }: Size,
  rounding: CropRounding,
): RgbImage {
  const offset = (from: number, to: number): number => {
    const middle = (from - to) / 2;
    if (rounding === "down") return Math.floor(middle);
    return middle > 0 ? roundHalfToEven(middle) : Math.ceil(middle);
  };
  const [left, top] = [offset(w, width), offset(h, height)];
  const out = new Uint8Array(width * height * channels);
  const begin = Math.max(0, left);
  const end = Math.min(w, left + width);
  for (let y = Math.max(0, -top); y < height && y + top < h; y++) {
    const row = data.subarray(((y + top) * w + begin) * channels, ((y + top) * w + end) * channels);
    out.set(row, (y * width + begin - left) * channels);
  }
  return { width, height, data: out };
}

function toValues(
  { width: w, height: h, data }: RgbImage,
  plan: PreprocessPlan,
  size: Size,
): Float32Array<ArrayBuffer> {
  const pixels = new Float32Array(channels * size.height * size.width);
  for (let channel = 0; channel < channels; channel++) {
    const table = valueTable(plan.values, channel);
    const from = plan.isBgr ? channels - 1 - channel : channel;
    const plane = channel * size.height * size.width;
    for (let y = 0; y < h; y++) {
      const to = plane + y * size.width;
      for (let x = 0; x < w; x++) pixels[to + x] = float32At(table, uint8At(data, (y * w + x) * channels + from));
    }
  }
  return pixels;
}

/** The value of each byte, rounded to float32 after each step. */
function valueTable(steps: readonly ValueStep[], channel: number): Float32Array {
  const table = Float32Array.from({ length: 256 }, (_, byte) => byte);
  for (const step of steps) {
    for (let byte = 0; byte < table.length; byte++) table[byte] = changed(float32At(table, byte), step, channel);
  }
  return table;
}

function changed(value: number, step: ValueStep, channel: number): number {
  switch (step.kind) {
    case "multiply":
      return value * step.by;
    case "divide":
      return value / step.by;
    case "subtract":
      return value - step.value;
    case "normalize":
      return Math.fround(value - Math.fround(step.mean[channel] ?? 0)) / Math.fround(step.std[channel] ?? 1);
  }
}
