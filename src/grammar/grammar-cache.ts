/** An LRU cache of compiled grammars by content, bounded by bytes. */
import type { Grammar } from "./grammar.js";

export class GrammarCache {
  readonly #maxBytes: number;
  /** Least recently used first. */
  readonly #grammars = new Map<string, Grammar>();
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get count(): number {
    return this.#grammars.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get(key: string): Grammar | null {
    const grammar = this.#grammars.get(key);
    if (!grammar) return null;
    this.#grammars.delete(key);
    this.#grammars.set(key, grammar);
    return grammar;
  }

  add(key: string, grammar: Grammar): void {
    this.#grammars.set(key, grammar);
    this.#bytes += grammar.bytes;
    for (const [oldest, { bytes }] of this.#grammars) {
      if (this.#bytes <= this.#maxBytes) break;
      this.#grammars.delete(oldest);
      this.#bytes -= bytes;
    }
  }
}
