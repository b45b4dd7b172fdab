/** One sequence's ids into text: holds back what may be the start of a stop string, and each token's data along with its text. Knows no engine and no wire. */
import type { TokenLogprob } from "../engine/types.js";
import { StopMatcher } from "../text/stop.js";
import type { TextStream, Tokenizer } from "../text/types.js";

/** A token and where its text begins, in UTF-16 units of the answer. */
export interface TokenPiece {
  readonly id: number;
  readonly offset: number;
  readonly logprob: TokenLogprob | null;
}

export interface Assembled {
  readonly text: string;
  readonly tokens: readonly TokenPiece[];
}

/** Ids of the prompt's end that a stream has to see to spell the first new token as it would in the whole text. */
const primedIds = 8;

export class Assembler {
  readonly #stream: TextStream | null;
  readonly #matcher: StopMatcher | null;
  #pending: TokenPiece[] = [];
  #pushed: number;
  #released: number;
  #stopped = false;

  /**
   * @param before the prompt's ids when the text continues it, else empty
   * @param offset where the text begins: the length of an echoed prompt
   */
  constructor(tokenizer: Tokenizer | null, stops: readonly string[], before: readonly number[], offset: number) {
    this.#stream = tokenizer?.stream() ?? null;
    this.#matcher = stops.length > 0 ? new StopMatcher(stops) : null;
    this.#pushed = offset;
    this.#released = offset;
    for (const id of before.slice(-primedIds)) this.#stream?.push(id);
  }

  /** True once a stop string was met: nothing more comes out. */
  get stopped(): boolean {
    return this.#stopped;
  }

  push(id: number, logprob: TokenLogprob | null): Assembled {
    if (this.#stopped) return { text: "", tokens: [] };
    this.#pending.push({ id, offset: this.#pushed, logprob });
    if (!this.#stream) return { text: "", tokens: this.#takeAll() };
    return this.#release(this.#stream.push(id));
  }

  /** The rest, when the sequence is over. */
  finish(): Assembled {
    if (this.#stopped || !this.#stream) return { text: "", tokens: this.#takeAll() };
    const last = this.#release(this.#stream.flush());
    if (this.#stopped) return last;
    const rest = this.#matcher?.flush() ?? "";
    this.#released += rest.length;
    return { text: last.text + rest, tokens: [...last.tokens, ...this.#takeAll()] };
  }

  #release(piece: string): Assembled {
    this.#pushed += piece.length;
    const found = this.#matcher?.push(piece) ?? { text: piece, stopped: null };
    this.#released += found.text.length;
    this.#stopped = found.stopped !== null;
    const tokens = this.#takeReleased();
    if (this.#stopped) this.#pending = [];
    return { text: found.text, tokens };
  }

  /** Tokens whose text has begun to come out: a token without text of its own waits for the next one's. */
  #takeReleased(): TokenPiece[] {
    const held = this.#pending.findIndex((piece) => piece.offset >= this.#released);
    const count = held < 0 ? this.#pending.length : held;
    return this.#pending.splice(0, count);
  }

  #takeAll(): TokenPiece[] {
    return this.#pending.splice(0);
  }
}

/** A prompt's text and tokens as an echo returns them: `logprobs` has one entry a token, or none at all. */
export function assemblePrompt(
  tokenizer: Tokenizer | null,
  ids: readonly number[],
  text: string | null,
  logprobs: readonly (TokenLogprob | null)[],
): Assembled {
  const stream = tokenizer?.stream() ?? null;
  let spelled = "";
  const tokens = ids.map((id, index) => {
    const offset = text === null ? spelled.length : Math.min(spelled.length, text.length);
    spelled += stream?.push(id) ?? "";
    return { id, offset, logprob: logprobs[index] ?? null };
  });
  spelled += stream?.flush() ?? "";
  return { text: text ?? spelled, tokens };
}
