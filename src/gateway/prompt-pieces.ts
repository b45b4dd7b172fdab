/** A prompt's text and tokens as an echo returns them. */
import { at } from "../base/list.js";
import type { TokenLogprob } from "../engine/types.js";
import { characterCount } from "../text/characters.js";
import type { Tokenizer } from "../text/types.js";
import type { Assembled } from "./assembler.js";
import type { EncodedPrompt } from "./prompts.js";

/** `logprobs` has one entry per token, or is empty. Offsets are in characters of the returned text. */
export function promptPieces(
  tokenizer: Tokenizer | null,
  { ids, text }: EncodedPrompt,
  logprobs: readonly (TokenLogprob | null)[],
  keepsSpecialTokens: boolean,
): Assembled {
  // The text as it was written has the special tokens that it was written with, and none that the tokenizer added.
  const stream = tokenizer?.stream([], { keepSpecialTokens: text === null && keepsSpecialTokens }) ?? null;
  let spelled = "";
  let position = 0;
  let offset = 0;
  const tokens = ids.map((id, index) => {
    const token = { id, offset, logprob: logprobs.length === 0 ? null : at(logprobs, index) };
    const piece = stream?.push(id) ?? "";
    spelled += piece;
    if (text === null) offset += characterCount(piece);
    else {
      const next = behindSpecial(text, follow(text, position, piece), tokenizer?.specialText(id) ?? null);
      offset += characterCount(text.slice(position, next));
      position = next;
    }
    return token;
  });
  spelled += stream?.flush() ?? "";
  return { text: text ?? spelled, tokens };
}

/**
 * Where the text continues after a piece that starts at `at`. Tokenizers drop white space around some added tokens and insert a space
 * before words, so white space may differ between text and piece.
 */
function follow(text: string, at: number, piece: string): number {
  const trimmed = piece.trimStart();
  for (const spelled of [piece, trimmed]) {
    for (const begin of [at, behindBlanks(text, at)]) {
      if (text.startsWith(spelled, begin)) return spelled === "" ? at : begin + spelled.length;
    }
  }
  return Math.min(text.length, at + piece.length);
}

/** Special tokens that the tokenizer added are not part of the text. */
function behindSpecial(text: string, at: number, special: string | null): number {
  const begin = behindBlanks(text, at);
  return special !== null && text.startsWith(special, begin) ? begin + special.length : at;
}

function behindBlanks(text: string, at: number): number {
  const blanks = /\s*/y;
  blanks.lastIndex = at;
  blanks.exec(text);
  return blanks.lastIndex;
}
