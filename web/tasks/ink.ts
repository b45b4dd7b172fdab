/** Where the ink of a drawing lies. Collections of digits hold each one at the same size, with its weight in the middle. */

export interface Ink {
  /** Of the box around it. */
  readonly width: number;
  readonly height: number;
  /** Its centre of mass. */
  readonly x: number;
  readonly y: number;
}

/** Half the way from paper to ink is ink. */
const least = 128;

/** null for an empty sheet. `pixels`: red, green, blue, alpha of a square with sides of `size`. */
export function inkOf(pixels: ArrayLike<number>, size: number, paperIsBlack: boolean): Ink | null {
  let [left, top, right, bottom] = [size, size, -1, -1];
  let [count, sumX, sumY] = [0, 0, 0];
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const light = pixels[4 * (y * size + x)] ?? 0;
      if ((paperIsBlack ? light : 255 - light) < least) continue;
      left = Math.min(left, x);
      right = Math.max(right, x);
      top = Math.min(top, y);
      bottom = Math.max(bottom, y);
      count++;
      sumX += x + 0.5;
      sumY += y + 0.5;
    }
  }
  if (count === 0) return null;
  return { width: right - left + 1, height: bottom - top + 1, x: sumX / count, y: sumY / count };
}
