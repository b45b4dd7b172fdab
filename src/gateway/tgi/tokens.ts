/** The tokens of an answer as TGI shows them: each with the text that it adds. */
import type { Tokenizer } from "../../text/types.js";
import type { TokenPiece } from "../assembler.js";
import type { ChoicePart } from "../parts.js";

export interface TokenObject {
  readonly id: number;
  readonly text: string;
  /** null where it was not computed. */
  readonly logprob: number | null;
  readonly special: boolean;
}

/** A token and its likeliest alternatives. */
export interface ShownToken {
  readonly token: TokenObject;
  readonly top: readonly TokenObject[];
}

/** What a part adds: text that still belongs to the token before it, and new tokens. */
interface Addition {
  readonly lead: string;
  readonly tokens: readonly ShownToken[];
}

/** Splits the text of parts, given in order, between their tokens: joined, the tokens' texts are the text. */
export class TokenReader {
  readonly #tokenizer: Tokenizer | null;
  /** Characters of the parts so far. */
  #characters = 0;

  constructor(tokenizer: Tokenizer | null) {
    this.#tokenizer = tokenizer;
  }

  read({ text, tokens }: Pick<ChoicePart, "text" | "tokens">): Addition {
    const characters = Array.from(text);
    const start = this.#characters;
    this.#characters += characters.length;
    const between = (from: number, to: number): string => characters.slice(from - start, to - start).join("");
    const shown = tokens.map((piece, index) =>
      this.#show(piece, between(piece.offset, tokens[index + 1]?.offset ?? this.#characters)),
    );
    return { lead: between(start, tokens[0]?.offset ?? this.#characters), tokens: shown };
  }

  #show({ id, logprob }: TokenPiece, text: string): ShownToken {
    const special = this.#tokenizer?.specialText(id) ?? null;
    return {
      token: {
        id,
        text: text === "" && special !== null ? special : text,
        logprob: logprob ? finite(logprob.logprob) : null,
        special: special !== null,
      },
      top: (logprob?.top ?? []).map((each) => this.#alternative(each.id, each.logprob)),
    };
  }

  #alternative(id: number, logprob: number): TokenObject {
    const special = this.#tokenizer?.specialText(id) ?? null;
    const text = special ?? this.#tokenizer?.tokenText(id) ?? "";
    return { id, text, logprob: finite(logprob), special: special !== null };
  }
}

/** JSON has no infinity. */
export function finite(logprob: number): number {
  return Number.isFinite(logprob) ? logprob : -9999;
}
