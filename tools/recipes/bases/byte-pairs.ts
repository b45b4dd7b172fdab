/** Makes a tokenizer.json of byte-pair encoding (Sennrich et al., 2016), over characters. Digits and punctuation are tokens of their own. */

const space = "\u2581";

/** Ids 0, 1 and 2. */
export const special = { end: "</s>", unknown: "<unk>", pad: "<pad>" } as const;

/** A tokenizer of `size` tokens that were merged from the pairs most frequent in `texts`. */
export function trainTokenizer(texts: readonly string[], size: number): unknown {
  const words = countWords(texts);
  const characters = [...new Set([...words.keys()].join(""))].sort();
  const vocabulary = [...Object.values(special), ...characters];
  const merges: [string, string][] = [];
  let split = Array.from(words, ([word, count]) => ({ parts: [...word], count }));
  while (vocabulary.length < size) {
    const pair = mostFrequentPair(split);
    if (!pair) break;
    merges.push(pair);
    vocabulary.push(pair.join(""));
    split = split.map(({ parts, count }) => ({ parts: merged(parts, pair), count }));
  }
  const metaspace = { type: "Metaspace", replacement: space, prepend_scheme: "always", split: true };
  const digits = { type: "Digits", individual_digits: true };
  const punctuation = { type: "Punctuation", behavior: "Isolated" };
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: Object.values(special).map((content, id) => ({
      ...{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true },
    })),
    normalizer: null,
    pre_tokenizer: { type: "Sequence", pretokenizers: [metaspace, digits, punctuation] },
    post_processor: {
      type: "TemplateProcessing",
      single: [{ Sequence: { id: "A", type_id: 0 } }, { SpecialToken: { id: special.end, type_id: 0 } }],
      pair: [
        { Sequence: { id: "A", type_id: 0 } },
        { Sequence: { id: "B", type_id: 0 } },
        { SpecialToken: { id: special.end, type_id: 0 } },
      ],
      special_tokens: { [special.end]: { id: special.end, ids: [0], tokens: [special.end] } },
    },
    decoder: metaspace,
    model: {
      ...{ type: "BPE", dropout: null, unk_token: special.unknown, continuing_subword_prefix: null },
      ...{ end_of_word_suffix: null, fuse_unk: true, byte_fallback: false, ignore_merges: false },
      vocab: Object.fromEntries(vocabulary.map((token, id) => [token, id])),
      merges,
    },
  };
}

/** Words with the space in front of them; digits and punctuation alone. */
function countWords(texts: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const text of texts) {
    for (const word of text.split(" ").flatMap((part) => `${space}${part}`.split(/(\d|\p{P})/u))) {
      if (word !== "") counts.set(word, (counts.get(word) ?? 0) + 1);
    }
  }
  return counts;
}

interface SplitWord {
  readonly parts: readonly string[];
  readonly count: number;
}

/** Of equally frequent pairs, the first of all in the order of characters. */
function mostFrequentPair(words: readonly SplitWord[]): [string, string] | null {
  const counts = new Map<string, number>();
  for (const { parts, count } of words) {
    for (let i = 1; i < parts.length; i++) {
      const pair = `${parts[i - 1]} ${parts[i]}`;
      counts.set(pair, (counts.get(pair) ?? 0) + count);
    }
  }
  const [best] = [...counts].sort(([a, many], [b, more]) => more - many || (a < b ? -1 : 1));
  const [left, right] = best?.[0].split(" ") ?? [];
  return left === undefined || right === undefined ? null : [left, right];
}

function merged(parts: readonly string[], [left, right]: readonly [string, string]): string[] {
  const found: string[] = [];
  for (const part of parts) {
    if (part === right && found.at(-1) === left) found.splice(-1, 1, left + right);
    else found.push(part);
  }
  return found;
}
