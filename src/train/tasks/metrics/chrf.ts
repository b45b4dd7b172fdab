/**
 * chrF2 (Popović, 2015: "chrF: character n-gram F-score for automatic MT evaluation"), as sacreBLEU computes it over a corpus: n-grams of 1 to 6
 * characters without white space, counted over all texts; the F-score of mean precision and mean recall, in which recall counts twice.
 */

const longest = 6;
const recallWeight = 2 ** 2;

interface Counts {
  /** Of texts whose reference has n-grams of this length. */
  found: number;
  expected: number;
  shared: number;
}

export class Chrf {
  readonly #lengths: readonly Counts[] = Array.from({ length: longest }, () => ({ found: 0, expected: 0, shared: 0 }));

  add(found: string, expected: string): void {
    const [own, wanted] = [charactersOf(found), charactersOf(expected)];
    for (const [i, counts] of this.#lengths.entries()) {
      const [ours, theirs] = [nGrams(own, i + 1), nGrams(wanted, i + 1)];
      const total = sum(theirs.values());
      if (total > 0) counts.found += sum(ours.values());
      counts.expected += total;
      for (const [text, count] of ours) counts.shared += Math.min(count, theirs.get(text) ?? 0);
    }
  }

  /** From 0 to 100. */
  score(): number {
    const counted = this.#lengths.filter(({ found, expected }) => found > 0 && expected > 0);
    if (counted.length === 0) return 0;
    const mean = (of: (counts: Counts) => number): number =>
      counted.reduce((all, counts) => all + of(counts), 0) / counted.length;
    const precision = mean(({ shared, found }) => shared / found);
    const recall = mean(({ shared, expected }) => shared / expected);
    if (precision + recall === 0) return 0;
    return (100 * (1 + recallWeight) * precision * recall) / (recallWeight * precision + recall);
  }
}

const charactersOf = (text: string): string[] => Array.from(text.replace(/\s+/gu, ""));

function nGrams(characters: readonly string[], length: number): Map<string, number> {
  const counts = new Map<string, number>();
  for (let start = 0; start + length <= characters.length; start++) {
    const text = characters.slice(start, start + length).join("");
    counts.set(text, (counts.get(text) ?? 0) + 1);
  }
  return counts;
}

const sum = (counts: Iterable<number>): number => [...counts].reduce((total, count) => total + count, 0);
