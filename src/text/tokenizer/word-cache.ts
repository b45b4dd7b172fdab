/**
 * A bounded cache of encoded words in two generations: once the young one is full it becomes the old one, whose words move back
 * when they are used. Every call costs the same, however full the cache is. Knows no tokens.
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

  /** Words held, at most twice what one generation holds. */
  get size(): number {
    return this.#young.size + this.#old.size;
  }
}
