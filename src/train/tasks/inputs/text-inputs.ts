/** Rows of texts as a model's inputs. */

import { LorikeetError } from "../../../base/errors.js";
import type { Graph } from "../../../graph/types.js";
import { Tensor } from "../../../runtime/tensor.js";
import type { RowTokenizer } from "../../../text/tokenizer/row-tokenizer.js";
import { type EncodedRow, padRows } from "../../../text/tokenizer/rows.js";
import type { TaskExample, TaskInputs } from "../types.js";

/** The texts of an example that the model sees apart: one, or an anchor with its positive and negative. */
export type TextParts = readonly EncodedRow[];

const names = ["input_ids", "attention_mask", "token_type_ids"] as const;

/** Throws `model_unsupported` for a model with other inputs. All parts run as one batch: first the first part of every row. */
export function textInputs({ inputs }: Graph, tokenizer: RowTokenizer): TaskInputs<TextParts> {
  const other = inputs.find(({ name }) => !names.some((known) => known === name));
  if (other) {
    const message = `The model has an input ${JSON.stringify(other.name)}; models of texts with ${names.join(", ")} are trained.`;
    throw new LorikeetError("model_unsupported", message, { param: "--task", found: other.name, allowed: names });
  }
  return {
    async feeds(sources, rows) {
      const [first] = sources;
      const parts = first?.length ?? 1;
      const texts = Array.from({ length: parts }, (_, part) =>
        Array.from({ length: rows }, (_, row) => (sources[row] ?? first)?.[part] ?? { ids: [], typeIds: [] }),
      ).flat();
      const longest = Math.max(1, ...texts.map(({ ids }) => ids.length));
      const padded = padRows(texts, tokenizer, bucketLength(longest, tokenizer.maxLength));
      const tensors = {
        input_ids: padded.inputIds,
        attention_mask: padded.attentionMask,
        token_type_ids: padded.tokenTypeIds,
      };
      const shape = [texts.length, padded.length];
      return new Map(
        inputs.map(({ name, type }): [string, Tensor] => {
          const data = tensors[name as keyof typeof tensors];
          return [
            name,
            type === "int32"
              ? Tensor.from("int32", shape, Int32Array.from(data, Number))
              : Tensor.from("int64", shape, data),
          ];
        }),
      );
    },
  };
}

/** What a row is called in sample answers: its first text. */
export const firstText =
  (tokenizer: RowTokenizer) =>
  ({ source }: TaskExample): string =>
    tokenizer.decode((source as TextParts)[0]?.ids ?? []);

const leastLength = 16;

/** 16, 32, 64, ... up to the model's limit: a graph is built for each length. */
export function bucketLength(found: number, limit: number | null): number {
  let length = leastLength;
  while (length < found) length *= 2;
  return limit === null ? length : Math.max(found, Math.min(length, limit));
}
