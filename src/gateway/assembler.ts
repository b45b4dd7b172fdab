/** Converts one sequence's ids to text. Holds back text that may start a stop string, and each token's data along with its text. */
import { assert } from "../base/errors.js";
import type { TokenLogprob } from "../engine/types.js";
import { characterCount } from "../text/characters.js";
import { StopMatcher } from "../text/stop.js";
import type { TextStream, Tokenizer } from "../text/types.js";

/** A token and the position of its text, in characters of the returned text. */
export interface TokenPiece {
  readonly id: number;
  readonly offset: number;
  readonly logprob: TokenLogprob | null;
}

export interface Assembled {
  readonly text: string;
  readonly tokens: readonly TokenPiece[];
}

export interface AssemblerOptions {
  readonly stops: readonly string[];
  /** Whether the text includes the stop string or stop token that ended it. */
  readonly includesStop: boolean;
  /** Stop strings completed within this many tokens are ignored. */
  readonly minTokens: number;
  readonly keepsSpecialTokens: boolean;
  /** Special tokens that are kept in any case. */
  readonly markers: ReadonlySet<string>;
  /** The prompt's ids if the text continues it, else empty. */
  readonly before: readonly number[];
  /** Characters before this text in the returned text: those of an echoed prompt. */
  readonly offset: number;
}

/** A token whose text is held back, and the position of that text in the searched text. */
interface Pending extends TokenPiece {
  readonly at: number;
}

/** Ids at the prompt's end that the decoder needs to spell the first new token as in the full text. */
const primedIds = 8;
export const nothing: Assembled = { text: "", tokens: [] };

/**
 * Stop strings are looked for in the searched text: the returned text with every special token spelled out where it stands,
 * although special tokens are not returned. So a stop string may be one, contain one, or begin in one.
 */
export class Assembler {
  readonly #tokenizer: Tokenizer | null;
  readonly #options: AssemblerOptions;
  readonly #stream: TextStream | null;
  readonly #matcher: StopMatcher | null;
  #pending: Pending[] = [];
  /** Stretches of the searched text that are still held back, in UTF-16 units. */
  readonly #stretches: { units: number; readonly isReturned: boolean }[] = [];
  /** UTF-16 units of the searched text so far, and those already released. */
  #searched = 0;
  #certain = 0;
  #offset: number;
  #generated = 0;
  #stop: string | null = null;

  constructor(tokenizer: Tokenizer | null, options: AssemblerOptions) {
    const { stops, keepsSpecialTokens, before, offset } = options;
    this.#tokenizer = tokenizer;
    this.#options = options;
    this.#stream = tokenizer?.stream([], { keepSpecialTokens: keepsSpecialTokens }) ?? null;
    this.#matcher = stops.length > 0 ? new StopMatcher(stops) : null;
    this.#offset = offset;
    for (const id of before.slice(-primedIds)) this.#stream?.push(id);
  }

  /** The stop string that was found: nothing after it is returned. */
  get stop(): string | null {
    return this.#stop;
  }

  push(id: number, logprob: TokenLogprob | null): Assembled {
    if (this.#stop !== null) return nothing;
    this.#generated++;
    this.#pending.push({ id, offset: this.#offset, logprob, at: this.#searched });
    if (!this.#stream) return { text: "", tokens: this.#takeAll() };
    return this.#release(this.#stream.push(id) + this.#markerText(id), this.#hiddenText(id));
  }

  /** The rest, when the sequence is over. */
  finish(): Assembled {
    if (this.#stop !== null || !this.#stream) return { text: "", tokens: this.#takeAll() };
    const last = this.#release(this.#stream.flush(), "");
    if (this.#stop !== null) return last;
    const rest = this.#returned(this.#matcher?.flush() ?? "");
    return { text: last.text + rest, tokens: [...last.tokens, ...this.#takeAll()] };
  }

  /** The text of a special token that is a marker; the stream skips it. */
  #markerText(id: number): string {
    const { markers, keepsSpecialTokens } = this.#options;
    if (markers.size === 0 || keepsSpecialTokens) return "";
    const text = this.#tokenizer?.specialText(id) ?? "";
    return markers.has(text) ? text : "";
  }

  /** The text of a token that is searched and not returned. */
  #hiddenText(id: number): string {
    if (!this.#matcher || this.#options.keepsSpecialTokens) return "";
    const text = this.#tokenizer?.specialText(id) ?? "";
    return this.#options.markers.has(text) ? "" : text;
  }

  #release(text: string, hidden: string): Assembled {
    this.#offset += characterCount(text);
    this.#note(text, true);
    this.#note(hidden, false);
    const mayStop = this.#generated > this.#options.minTokens;
    const found = this.#matcher?.push(text + hidden, mayStop) ?? { text, stopped: null };
    const returned = this.#returned(found.text);
    this.#stop = found.stopped;
    if (found.stopped !== null && this.#options.includesStop) {
      return { text: returned + found.stopped, tokens: this.#takeAll() };
    }
    const tokens = this.#takeCertain();
    if (found.stopped !== null) this.#pending = [];
    return { text: returned, tokens };
  }

  #note(text: string, isReturned: boolean): void {
    if (text === "") return;
    this.#searched += text.length;
    this.#stretches.push({ units: text.length, isReturned });
  }

  /** What is returned of the next stretch of the searched text. */
  #returned(certain: string): string {
    this.#certain += certain.length;
    let returned = "";
    for (let from = 0; from < certain.length; ) {
      const [stretch] = this.#stretches;
      assert(stretch, "text comes out once");
      const units = Math.min(stretch.units, certain.length - from);
      if (stretch.isReturned) returned += certain.slice(from, from + units);
      from += units;
      stretch.units -= units;
      if (stretch.units === 0) this.#stretches.shift();
    }
    return returned;
  }

  /** Tokens whose text has started to appear: a token without its own text waits for the next one's. */
  #takeCertain(): Pending[] {
    const held = this.#pending.findIndex((piece) => piece.at >= this.#certain);
    const count = held < 0 ? this.#pending.length : held;
    return this.#pending.splice(0, count);
  }

  #takeAll(): Pending[] {
    return this.#pending.splice(0);
  }
}
