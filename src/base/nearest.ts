/** Suggests the name that was probably meant. */

import { at } from "./list.js";

/** The candidate nearest to the name, a few typos away at most; null without one. `_` equals `-`, and case does not matter. */
export function nearest(name: string, candidates: readonly string[]): string | null {
  const wanted = plain(name);
  const most = Math.max(1, Math.floor(wanted.length / 4));
  let best: { readonly candidate: string; readonly distance: number } | null = null;
  for (const candidate of candidates) {
    const distance = distanceOf(wanted, plain(candidate));
    if (distance <= most && (best === null || distance < best.distance)) best = { candidate, distance };
  }
  return best?.candidate ?? null;
}

/** Letters compared with letters: some milliseconds. */
const maxComparisons = 200_000;

/**
 * The candidates of the least distances, the nearest first, however far they are. Compares a long list in part, and a name that is too long with none.
 */
export function closest(name: string, candidates: readonly string[], most: number): string[] {
  const wanted = plain(name);
  let left = maxComparisons;
  const found = candidates.flatMap((candidate) => {
    left -= wanted.length * candidate.length;
    return left < 0 ? [] : [{ candidate, distance: distanceOf(wanted, plain(candidate)) }];
  });
  return found
    .sort((one, other) => one.distance - other.distance)
    .slice(0, most)
    .map(({ candidate }) => candidate);
}

const plain = (name: string): string => name.toLowerCase().replaceAll("_", "-");

/** Letters to add, drop, replace or swap with their neighbour: the Levenshtein distance with transpositions. */
function distanceOf(a: string, b: string): number {
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = at(row, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const isSwap = j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      const swapped = isSwap ? at(before, j - 2) + 1 : replaced;
      next.push(Math.min(replaced, swapped, at(row, j) + 1, at(next, j - 1) + 1));
    }
    before = row;
    row = next;
  }
  return at(row, b.length);
}
