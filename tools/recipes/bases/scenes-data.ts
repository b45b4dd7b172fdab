/** Pictures of one to three digits on a cloudy background, in three styles, with a box around each digit's ink. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Draws } from "../../../src/train/random.js";
import { type Digit, side as digitSide } from "./digits-data.js";
import { greyPng } from "./png.js";

export const side = 64;
export const patchSide = 32;

export type Style = "bright" | "dark-on-light" | "outlines";

export interface SceneObject {
  readonly label: string;
  /** xmin, ymin, xmax, ymax in pixels. */
  readonly box: readonly [number, number, number, number];
}

export interface Scene {
  /** [64, 64], 255 is white. */
  readonly pixels: Uint8Array;
  readonly objects: readonly SceneObject[];
}

interface Place {
  readonly x: number;
  readonly y: number;
  readonly size: number;
}

/** Scene `index` of a seed: a function of both, so that any part of a series can be made alone. */
export function sceneOf(digits: readonly Digit[], style: Style, seed: number, index: number): Scene {
  const draws = new Draws(seed, index);
  const light = clouds(draws);
  const places: Place[] = [];
  const objects: SceneObject[] = [];
  const wanted = 1 + draws.below(3);
  for (let i = 0; i < wanted; i++) {
    const digit = digits[draws.below(digits.length)] as Digit;
    const size = 14 + draws.below(11);
    const place = { x: draws.below(side - size), y: draws.below(side - size), size };
    if (places.some((other) => touches(place, other))) continue;
    places.push(place);
    objects.push({ label: String(digit.label), box: draw(light, digit, place) });
  }
  return { pixels: styled(light, style), objects };
}

function touches(a: Place, b: Place): boolean {
  const apart = (a.size + b.size) / 2 + 1;
  const [dx, dy] = [a.x + a.size / 2 - b.x - b.size / 2, a.y + a.size / 2 - b.y - b.size / 2];
  return Math.abs(dx) < apart && Math.abs(dy) < apart;
}

/** A coarse random grid, enlarged, with fine noise: [64, 64] of 0 to about 0.4. */
function clouds(draws: Draws): Float64Array {
  const coarse = Float64Array.from({ length: 64 }, () => 0.35 * draws.next());
  const large = enlarge(coarse, 8, side);
  return large.map((value) => Math.min(Math.max(value + 0.09 * (draws.next() + draws.next() - 1), 0), 1));
}

/** A square picture at another size, by linear interpolation between the centres of pixels. */
function enlarge(picture: ArrayLike<number>, from: number, to: number): Float64Array {
  const taps = Array.from({ length: to }, (_, place) => {
    const exact = Math.min(Math.max(((place + 0.5) * from) / to - 0.5, 0), from - 1);
    const below = Math.floor(exact);
    return { below, above: Math.min(below + 1, from - 1), share: exact - below };
  });
  const at = (x: number, y: number): number => picture[y * from + x] ?? 0;
  return Float64Array.from(
    taps.flatMap((y) =>
      taps.map((x) => {
        const top = at(x.below, y.below) * (1 - x.share) + at(x.above, y.below) * x.share;
        const bottom = at(x.below, y.above) * (1 - x.share) + at(x.above, y.above) * x.share;
        return top * (1 - y.share) + bottom * y.share;
      }),
    ),
  );
}

/** Draws a digit in white, and returns the box of its ink. */
function draw(light: Float64Array, { pixels }: Digit, { x, y, size }: Place): SceneObject["box"] {
  const ink = enlarge(pixels, digitSide, size);
  let [left, top, right, bottom] = [side, side, 0, 0];
  for (const [i, value] of ink.entries()) {
    const [column, row] = [x + (i % size), y + Math.floor(i / size)];
    const place = row * side + column;
    light[place] = Math.max(light[place] ?? 0, value / 255);
    if (value < 0.3 * 255) continue;
    [left, top] = [Math.min(left, column), Math.min(top, row)];
    [right, bottom] = [Math.max(right, column + 1), Math.max(bottom, row + 1)];
  }
  return [left, top, right, bottom];
}

/** A piece of 32 x 32 pixels around each object of a scene, at most 6 pixels off its middle. */
export function patchesOf({ pixels, objects }: Scene, draws: Draws): Digit[] {
  return objects.map(({ label, box: [left, top, right, bottom] }) => {
    const start = (from: number, to: number): number => {
      const exact = Math.round((from + to - patchSide) / 2) + draws.below(13) - 6;
      return Math.min(Math.max(exact, 0), side - patchSide);
    };
    const [column, row] = [start(left, right), start(top, bottom)];
    const at = (i: number): number => (row + Math.floor(i / patchSide)) * side + column + (i % patchSide);
    return { label: Number(label), pixels: Uint8Array.from({ length: patchSide ** 2 }, (_, i) => pixels[at(i)] ?? 0) };
  });
}

function styled(light: Float64Array, style: Style): Uint8Array {
  const byte = (value: number): number => Math.round(255 * Math.min(Math.max(value, 0), 1));
  if (style === "bright") return Uint8Array.from(light, byte);
  if (style === "dark-on-light") return Uint8Array.from(light, (value) => byte(1 - 0.9 * value));
  return Uint8Array.from(light, (value, i) => byte(2 * (brightestAround(light, i) - value)));
}

function brightestAround(light: Float64Array, place: number): number {
  const [column, row] = [place % side, Math.floor(place / side)];
  let most = 0;
  for (let y = Math.max(row - 1, 0); y <= Math.min(row + 1, side - 1); y++) {
    for (let x = Math.max(column - 1, 0); x <= Math.min(column + 1, side - 1); x++) {
      most = Math.max(most, light[y * side + x] ?? 0);
    }
  }
  return most;
}

/** Writes each split as a file of rows beside a folder of its pictures. */
export async function writeScenes(folder: string, splits: Readonly<Record<string, readonly Scene[]>>): Promise<void> {
  for (const [split, scenes] of Object.entries(splits)) {
    await mkdir(join(folder, "pictures", split), { recursive: true });
    const rows: string[] = [];
    for (const [i, { pixels, objects }] of scenes.entries()) {
      const image = `pictures/${split}/${i}.png`;
      await writeFile(join(folder, image), greyPng(side, side, pixels));
      rows.push(JSON.stringify({ image, objects }));
    }
    await writeFile(join(folder, `${split}.jsonl`), `${rows.join("\n")}\n`);
  }
}
