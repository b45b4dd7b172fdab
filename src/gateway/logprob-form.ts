/** OpenAI's two spellings of log-probabilities. */
import type { TokenLogprob } from "../engine/types.js";
import type { Tokenizer } from "../text/types.js";
import type { TokenPiece } from "./assembler.js";

export interface CompletionLogprobs {
  readonly tokens: readonly string[];
  readonly token_logprobs: readonly (number | null)[];
  readonly top_logprobs: readonly (Readonly<Record<string, number>> | null)[];
  readonly text_offset: readonly number[];
}

interface ChatTokenLogprob {
  readonly token: string;
  readonly logprob: number;
  readonly bytes: readonly number[] | null;
}

export interface ChatLogprobs {
  readonly content: readonly (ChatTokenLogprob & { readonly top_logprobs: readonly ChatTokenLogprob[] })[];
  readonly refusal: null;
}

/** A token's spelling: its text, its bytes where they are no whole characters, or its id where there is no tokenizer. */
export function spell(tokenizer: Tokenizer | null, id: number): string {
  if (!tokenizer) return `token_id:${id}`;
  const text = tokenizer.tokenText(id);
  if (!text.includes("\ufffd")) return text;
  const bytes = tokenizer.tokenBytes(id).map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`);
  return `bytes:${bytes.join("")}`;
}

/** The legacy form: parallel lists. Each entry of `top_logprobs` holds the best alternatives and the token itself. */
export function completionLogprobs(tokenizer: Tokenizer | null, pieces: readonly TokenPiece[]): CompletionLogprobs {
  return {
    tokens: pieces.map((piece) => spell(tokenizer, piece.id)),
    token_logprobs: pieces.map((piece) => (piece.logprob ? finite(piece.logprob.logprob) : null)),
    top_logprobs: pieces.map((piece) => (piece.logprob ? topTable(tokenizer, piece.logprob) : null)),
    text_offset: pieces.map((piece) => piece.offset),
  };
}

function topTable(tokenizer: Tokenizer | null, logprob: TokenLogprob): Record<string, number> {
  const table: Record<string, number> = Object.create(null);
  for (const { id, logprob: value } of [...logprob.top, logprob]) {
    const token = spell(tokenizer, id);
    // Two ids may share a spelling: the likelier one stands for it.
    table[token] = Math.max(table[token] ?? Number.NEGATIVE_INFINITY, finite(value));
  }
  return table;
}

export function chatLogprobs(tokenizer: Tokenizer | null, pieces: readonly TokenPiece[]): ChatLogprobs {
  const entry = (id: number, logprob: number): ChatTokenLogprob => ({
    token: spell(tokenizer, id),
    logprob: finite(logprob),
    bytes: tokenizer ? tokenizer.tokenBytes(id) : null,
  });
  const content = pieces.flatMap(({ id, logprob }) =>
    logprob
      ? [{ ...entry(id, logprob.logprob), top_logprobs: logprob.top.map((top) => entry(top.id, top.logprob)) }]
      : [],
  );
  return { content, refusal: null };
}

/** JSON has no infinity: OpenAI writes -9999 for a token that cannot be. */
function finite(logprob: number): number {
  return Number.isFinite(logprob) ? logprob : -9999;
}
