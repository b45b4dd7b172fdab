/** The fields that vLLM's `/pooling` and `/classify` share: texts, and what becomes of them. */

import * as v from "valibot";
import { flag, modelField } from "../body/field-kinds.js";
import { type TextBounds, textInputsField } from "../body/text-inputs.js";
import type { TextInput } from "../tasks/text-tasks.js";

const truncation = v.literal(-1, "must be -1, which shortens a text to the longest that the model takes");

/** What a client sets to have texts truncated. */
export const truncatedBy = "`truncate_prompt_tokens: -1`";

export const textEntries = (bounds: TextBounds) => ({
  model: modelField,
  input: textInputsField(bounds, true),
  truncate_prompt_tokens: v.optional(truncation),
  use_activation: v.optional(flag, true),
});

export interface TextsRequest {
  readonly model: string | null;
  readonly texts: readonly TextInput[];
  readonly truncate: boolean;
  readonly truncatedBy: string;
  readonly activates: boolean;
}

type TextFields = v.InferOutput<v.ObjectSchema<ReturnType<typeof textEntries>, undefined>>;

export function textsRequest(fields: TextFields): TextsRequest {
  return {
    model: fields.model ?? null,
    texts: fields.input,
    truncate: fields.truncate_prompt_tokens === -1,
    truncatedBy,
    activates: fields.use_activation,
  };
}
