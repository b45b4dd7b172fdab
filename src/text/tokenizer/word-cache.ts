/**
 * A bounded cache of encoded words in two generations. When the young generation is full it replaces the old one; words of the
 * old one move back when used. Every operation takes constant time.
 */

const maxWords = 16_384;
const maxCharacters = 1_048_576;

export class WordCache {
  #young = new Map<string, readonly number[]>();
  #old = new Map<string, readonly number[]>();
  #characters = 0;

  get(word: string): readonly number[] | undefined {
    const young = this.#young.get(word);
    if (young) return young;
    const old = this.#old.get(word);
    if (old) this.set(word, old);
    return old;
  }

  set(word: string, ids: readonly number[]): void {
    if (this.#young.size >= maxWords || this.#characters >= maxCharacters) {
      this.#old = this.#young;
      this.#young = new Map();
      this.#characters = 0;
    }
    this.#young.set(word, ids);
    this.#characters += word.length;
  }

  /** Number of cached words, at most two generations. */
  get size(): number {
    return this.#young.size + this.#old.size;
  }
}
