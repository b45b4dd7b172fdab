/** Pixels to the numbers that a model sees. */

import { LorikeetError } from "../base/errors.js";
import { float32At, uint8At } from "../base/list.js";
import { decodeImage } from "./decode.js";
import { invalidImage } from "./faults.js";
import { type CropRounding, type PreprocessPlan, resizedSize, roundHalfToEven, type ValueStep } from "./plan.js";
import { resize, type Window } from "./resize.js";
import type { RgbImage, Size } from "./types.js";

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

/** Throws what `decodeImage` and `preparePixels` throw. */
export async function prepareImage(bytes: Uint8Array, plan: PreprocessPlan, maxPixels: number): Promise<PreparedImage> {
  return preparePixels(await decodeImage(bytes, maxPixels), plan);
}

/** Throws `image_too_large`, or `image_invalid` for a picture larger than the model takes. */
export function preparePixels(image: RgbImage, plan: PreprocessPlan): PreparedImage {
  const size = plan.resize ? resizedSize(plan.resize.rule, image) : image;
  checkResized(image, size, plan);
  const window = plan.crop ? cropOf(size, plan.crop) : null;
  const kept = window ? insideOf(size, window) : { left: 0, top: 0, width: size.width, height: size.height };
  const seen = resize(image, size.width, size.height, plan.resize?.resample ?? "nearest", kept);
  const changed = window ? framed(seen, window) : seen;
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

/** What a plan may make of a strip of a picture, whose shorter edge grows. */
const maxResizedPixels = 2 ** 25;

/** A crop keeps its own size of whatever a picture becomes. */
function checkResized(from: Size, to: Size, { resize: step, crop }: PreprocessPlan): void {
  if (crop || step?.rule.kind !== "shortest" || to.width * to.height <= maxResizedPixels) return;
  const [found, become] = [from, to].map(({ width, height }) => `${width}x${height}`);
  throw new LorikeetError(
    "image_too_large",
    `The image of ${found} pixels becomes ${become} for this model; at most ${maxResizedPixels} pixels are allowed.`,
    { param: "image", found: to.width * to.height, allowed: maxResizedPixels },
  );
}

/** The crop in the picture's coordinates; it begins above or on the left of a picture that is smaller. */
function cropOf({ width: w, height: h }: Size, { width, height, rounding }: Size & { rounding: CropRounding }): Window {
  const offset = (from: number, to: number): number => {
    const middle = (from - to) / 2;
    if (rounding === "down") return Math.floor(middle);
    return middle > 0 ? roundHalfToEven(middle) : Math.ceil(middle);
  };
  return { left: offset(w, width), top: offset(h, height), width, height };
}

/** The part of a window that the picture fills. */
function insideOf({ width: w, height: h }: Size, { left, top, width, height }: Window): Window {
  const [x, y] = [Math.max(0, left), Math.max(0, top)];
  return { left: x, top: y, width: Math.min(w, left + width) - x, height: Math.min(h, top + height) - y };
}

/** Black around what a picture that is smaller fills of a window. */
function framed(image: RgbImage, { left, top, width, height }: Window): RgbImage {
  if (image.width === width && image.height === height) return image;
  const out = new Uint8Array(width * height * channels);
  for (let y = 0; y < image.height; y++) {
    const row = image.data.subarray(y * image.width * channels, (y + 1) * image.width * channels);
    out.set(row, ((y + Math.max(0, -top)) * width + Math.max(0, -left)) * channels);
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
