/** OpenAI's two spellings of log-probabilities, and vLLM's of a prompt's. */
import { mapLazily } from "../../base/lazy-list.js";
import type { TokenLogprob } from "../../engine/types.js";
import type { Tokenizer } from "../../text/types.js";
import type { TokenPiece } from "../assembler.js";

export interface CompletionLogprobs {
  readonly tokens: readonly string[];
  readonly token_logprobs: readonly (number | null)[];
  readonly top_logprobs: Iterable<Readonly<Record<string, number>> | null>;
  readonly text_offset: readonly number[];
}

interface ChatTokenLogprob {
  readonly token: string;
  readonly logprob: number;
  readonly bytes: readonly number[] | null;
}

export interface ChatLogprobs {
  readonly content: Iterable<ChatTokenLogprob & { readonly top_logprobs: readonly ChatTokenLogprob[] }>;
  readonly refusal: null;
}

/** By token id: the prompt's own token and the best alternatives. The first token of a prompt has none. */
export type PromptLogprobs = Iterable<Readonly<
  Record<string, { readonly logprob: number; readonly rank: number; readonly decoded_token: string }>
> | null>;

/** How log-probabilities name a token. */
export type Spell = (id: number) => string;

/** Names tokens by their text, or by their ids if requested or if there is no tokenizer. */
export function spellerOf(tokenizer: Tokenizer | null, byId: boolean): Spell {
  return tokenizer === null || byId ? (id) => `token_id:${id}` : (id) => spell(tokenizer, id);
}

/** A token's text, or its bytes where they are not whole characters. */
function spell(tokenizer: Tokenizer, id: number): string {
  const text = tokenizer.tokenText(id);
  if (!text.includes("\ufffd")) return text;
  const bytes = tokenizer.tokenBytes(id).map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`);
  return `bytes:${bytes.join("")}`;
}

/** The legacy form: parallel lists. Each entry of `top_logprobs` holds the best alternatives and the token itself. */
export function completionLogprobs(spell: Spell, pieces: readonly TokenPiece[]): CompletionLogprobs {
  return {
    tokens: pieces.map((piece) => spell(piece.id)),
    token_logprobs: pieces.map((piece) => (piece.logprob ? finite(piece.logprob.logprob) : null)),
    top_logprobs: mapLazily(pieces, (piece) => (piece.logprob ? topTable(spell, piece.logprob) : null)),
    text_offset: pieces.map((piece) => piece.offset),
  };
}

function topTable(spell: Spell, logprob: TokenLogprob): Record<string, number> {
  const table: Record<string, number> = Object.create(null);
  for (const { id, logprob: value } of [...logprob.top, logprob]) {
    const token = spell(id);
    // Two ids may share a spelling: the likelier one is kept.
    table[token] = Math.max(table[token] ?? Number.NEGATIVE_INFINITY, finite(value));
  }
  return table;
}

export function chatLogprobs(spell: Spell, tokenizer: Tokenizer | null, pieces: readonly TokenPiece[]): ChatLogprobs {
  const entry = (id: number, logprob: number): ChatTokenLogprob => ({
    token: spell(id),
    logprob: finite(logprob),
    bytes: tokenizer ? tokenizer.tokenBytes(id) : null,
  });
  const scored = pieces.flatMap(({ id, logprob }) => (logprob ? [{ id, logprob }] : []));
  const content = mapLazily(scored, ({ id, logprob }) => ({
    ...entry(id, logprob.logprob),
    top_logprobs: logprob.top.map((top) => entry(top.id, top.logprob)),
  }));
  return { content, refusal: null };
}

export function promptLogprobs(spell: Spell, entries: readonly (TokenLogprob | null)[]): PromptLogprobs {
  return mapLazily(entries, (entry) => {
    if (entry === null) return null;
    const { id, logprob, rank = 0, top } = entry;
    const ranked = [...top.map((each, index) => ({ ...each, rank: index + 1 })), { id, logprob, rank }];
    return Object.fromEntries(
      ranked.map((each) => [
        String(each.id),
        { logprob: finite(each.logprob), rank: each.rank, decoded_token: spell(each.id) },
      ]),
    );
  });
}

/** JSON has no infinity: OpenAI writes -9999 for a token that cannot be. */
function finite(logprob: number): number {
  return Number.isFinite(logprob) ? logprob : -9999;
}
