/** Handwritten digits: MNIST's from the package `mnist`, UCI's from the file beside the recipe, and MNIST's drawn in other ways. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { Draws } from "../../../src/train/random.js";
import { greyPng } from "./png.js";

export const side = 28;

export interface Digit {
  readonly label: number;
  /** A square, of 28 x 28 unless it was cut from a scene; 255 is ink. */
  readonly pixels: Uint8Array;
}

const { resolve } = createRequire(import.meta.url);

/** The package's 10,000 digits, always in the same shuffled order. */
export async function readMnist(): Promise<Digit[]> {
  const digits: Digit[] = [];
  for (let label = 0; label < 10; label++) {
    const { data }: { data: number[] } = JSON.parse(await readFile(resolve(`mnist/src/digits/${label}.json`), "utf8"));
    for (let start = 0; start + side * side <= data.length; start += side * side) {
      const pixels = Uint8Array.from(data.slice(start, start + side * side), (value) => Math.round(value * 255));
      digits.push({ label, pixels });
    }
  }
  return shuffled(digits, 1);
}

/** UCI's 1,797 test digits of 13 writers, 8 x 8 in 17 greys, enlarged to MNIST's size. */
export async function readUci(path: string): Promise<Digit[]> {
  const lines = gunzipSync(await readFile(path))
    .toString()
    .trim()
    .split("\n");
  const digits = lines.map((line): Digit => {
    const numbers = line.split(",").map(Number);
    return { label: numbers.at(-1) ?? 0, pixels: enlarged(numbers.slice(0, 64)) };
  });
  return shuffled(digits, 2);
}

const shuffled = (digits: readonly Digit[], key: number): Digit[] =>
  Array.from(new Draws(key).permutation(digits.length), (i) => digits[i] as Digit);

/** 8 x 8 numbers of 0 to 16 as 28 x 28 bytes, by linear interpolation between the centres of pixels. */
function enlarged(small: readonly number[]): Uint8Array {
  const from = 8;
  const source = (place: number): { below: number; above: number; share: number } => {
    const exact = Math.min(Math.max(((place + 0.5) * from) / side - 0.5, 0), from - 1);
    const below = Math.floor(exact);
    return { below, above: Math.min(below + 1, from - 1), share: exact - below };
  };
  const at = (x: number, y: number): number => small[y * from + x] ?? 0;
  return Uint8Array.from({ length: side * side }, (_, i) => {
    const [x, y] = [source(i % side), source(Math.floor(i / side))];
    const top = at(x.below, y.below) * (1 - x.share) + at(x.above, y.below) * x.share;
    const bottom = at(x.below, y.above) * (1 - x.share) + at(x.above, y.above) * x.share;
    return Math.round(((top * (1 - y.share) + bottom * y.share) / 16) * 255);
  });
}

/** Dark ink on light paper. */
export const negative = ({ label, pixels }: Digit): Digit => ({
  label,
  pixels: pixels.map((value) => Math.round(255 - 0.8 * value)),
});

/** Turned by a quarter, counterclockwise. */
export const quarterTurn = ({ label, pixels }: Digit): Digit => ({
  label,
  pixels: Uint8Array.from(pixels, (_, i) => {
    const [x, y] = [i % side, Math.floor(i / side)];
    return pixels[x * side + (side - 1 - y)] ?? 0;
  }),
});

/** Writes each split as folders of PNG files, one for each label. */
export async function writeDigits(folder: string, splits: Readonly<Record<string, readonly Digit[]>>): Promise<void> {
  for (const [split, digits] of Object.entries(splits)) {
    for (const [i, { label, pixels }] of digits.entries()) {
      const classFolder = join(folder, split, String(label));
      await mkdir(classFolder, { recursive: true });
      const length = Math.sqrt(pixels.length);
      await writeFile(join(classFolder, `${i}.png`), greyPng(length, length, pixels));
    }
  }
}
