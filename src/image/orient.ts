/** Turns a picture as EXIF's orientation says. */

import { uint8At } from "../base/list.js";
import type { RgbImage } from "./types.js";

/** Where the first pixel of the result lies, and how far apart its columns and rows are, in pixels of the source. */
interface Walk {
  readonly first: number;
  readonly right: number;
  readonly down: number;
}

/** `orientation` is 1 to 8; 5 to 8 swap width and height. */
export function orient(image: RgbImage, orientation: number): RgbImage {
  const { width: w, height: h, data } = image;
  if (orientation === 1) return image;
  const { first, right, down } = walks(w, h)[orientation - 2] ?? { first: 0, right: 1, down: w };
  const [width, height] = orientation >= 5 ? [h, w] : [w, h];
  const turned = new Uint8Array(data.length);
  let to = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const from = (first + y * down + x * right) * 3;
      turned[to++] = uint8At(data, from);
      turned[to++] = uint8At(data, from + 1);
      turned[to++] = uint8At(data, from + 2);
    }
  }
  return { width, height, data: turned };
}

/** Of the orientations from 2 on. */
const walks = (w: number, h: number): readonly Walk[] => [
  { first: w - 1, right: -1, down: w },
  { first: w * h - 1, right: -1, down: -w },
  { first: w * (h - 1), right: 1, down: -w },
  { first: 0, right: w, down: 1 },
  { first: w * (h - 1), right: -w, down: 1 },
  { first: w * h - 1, right: -w, down: -1 },
  { first: w - 1, right: w, down: -1 },
];
