/** Sources and the beginnings of their targets as inputs of an encoder-decoder. */

import { Tensor } from "../../../runtime/tensor.js";
import type { EncodedRow, Padding } from "../../../text/tokenizer/rows.js";
import { padRows } from "../../../text/tokenizer/rows.js";
import type { TaskInputs } from "../types.js";
import { bucketLength } from "./text-inputs.js";

export interface RequestLanguages {
  readonly src_lang?: string;
  readonly tgt_lang?: string;
}

export interface TranslationSource {
  readonly source: EncodedRow;
  /** As the row has it, which is as a request gives it: without a prefix or a language's token. */
  readonly text: string;
  /** The languages that the row names, as a request names them. */
  readonly languages: RequestLanguages;
  /** What the decoder reads: the start token, and all tokens of the target but the last. */
  readonly decoderIds: readonly number[];
  /** The first token of the answer, such as its language's; null: free. */
  readonly firstId: number | null;
  /** The target as the row has it. */
  readonly reference: string;
}

export function translationInputs(
  padding: Padding,
  limits: { source: number | null; target: number | null },
): TaskInputs<TranslationSource> {
  return {
    async feeds(sources, rows) {
      const [first] = sources;
      const all = Array.from({ length: rows }, (_, row) => sources[row] ?? first).flatMap((each) => each ?? []);
      const longest = (lengths: readonly number[]): number => Math.max(1, ...lengths);
      const texts = all.map(({ source }) => source);
      const sourceLength = bucketLength(longest(texts.map(({ ids }) => ids.length)), limits.source);
      const padded = padRows(texts, padding, sourceLength);
      const targetLength = bucketLength(longest(all.map(({ decoderIds }) => decoderIds.length)), limits.target);
      // A decoder sees no token behind its own, so what follows a target changes nothing.
      const ids = new BigInt64Array(rows * targetLength).fill(BigInt(padding.padId));
      for (const [row, { decoderIds }] of all.entries()) ids.set(decoderIds.map(BigInt), row * targetLength);
      const shape = [rows, sourceLength];
      return new Map([
        ["input_ids", Tensor.from("int64", shape, padded.inputIds)],
        ["attention_mask", Tensor.from("int64", shape, padded.attentionMask)],
        ["decoder_input_ids", Tensor.from("int64", [rows, targetLength], ids)],
      ]);
    },
  };
}
