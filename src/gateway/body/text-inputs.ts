/** `input` of the routes that take texts: one or several, as strings or as token ids. */

import * as v from "valibot";
import type { TextInput } from "../tasks/text-tasks.js";
import { describe, Found } from "./parse.js";

export interface TextBounds {
  /** Texts of one request. */
  readonly maxSequences: number;
  /** Characters of one text that is not truncated. */
  readonly maxCharacters: number;
}

/** A text that is not empty. */
export const textField = v.pipe(
  v.string("must be a text that is not empty"),
  v.minLength(1, "must be a text that is not empty"),
);

/** `takesIds`: whether a text may be a list of token ids. Long texts pass: whether they are too long depends on truncation. */
export function textInputsField({ maxSequences }: Pick<TextBounds, "maxSequences">, takesIds: boolean) {
  const kinds = takesIds ? "texts or lists of token ids" : "texts";
  const most = `1 to ${maxSequences} ${kinds} (--max-sequences)`;
  const rule = `must be one or a list of ${most}, none of them empty`;
  return v.pipe(
    v.unknown(),
    v.rawTransform<unknown, TextInput[]>(({ dataset, addIssue, NEVER }) => {
      const found = textsOf(dataset.value, takesIds);
      if (Array.isArray(found) && found.length >= 1 && found.length <= maxSequences) {
        const wrong = found.find((text) => text.length === 0);
        if (wrong === undefined) return found;
        addIssue({ message: rule, input: new Found(describe(wrong)) });
        return NEVER;
      }
      addIssue({ message: rule, input: found instanceof Found ? found : new Found(describe(dataset.value)) });
      return NEVER;
    }),
  );
}

const isId = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

function textsOf(value: unknown, takesIds: boolean): TextInput[] | Found {
  if (typeof value === "string") return [value];
  if (!Array.isArray(value) || value.length === 0) return new Found(describe(value));
  if (takesIds && value.every(isId)) return [value];
  const texts: TextInput[] = [];
  for (const [index, item] of value.entries()) {
    if (typeof item === "string") texts.push(item);
    else if (takesIds && Array.isArray(item) && item.every(isId)) texts.push(item);
    else return new Found(`${describe(item)} at position ${index}`);
  }
  return texts;
}
