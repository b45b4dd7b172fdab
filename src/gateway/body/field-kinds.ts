/** Schemas for the kinds of values that parameters of every protocol have. */
import * as v from "valibot";
import { isObject } from "../../base/json.js";
import type { RequestBounds } from "../options.js";
import { describe, Found } from "./parse.js";

export const integer = (min: number, max: number) => {
  const rule = `must be an integer from ${min} to ${max}`;
  return v.pipe(v.number(rule), v.integer(rule), v.minValue(min, rule), v.maxValue(max, rule));
};

export const real = (min: number, max: number) => {
  const rule = `must be a number from ${min} to ${max}`;
  return v.pipe(v.number(rule), v.minValue(min, rule), v.maxValue(max, rule));
};

export const flag = v.boolean("must be true or false");

/** A list whose length is checked before its items, since it may be very long. */
export function listOf<const Item extends v.GenericSchema>(item: Item, min: number, max: number, rule: string) {
  return v.pipe(v.array(v.unknown(), rule), v.minLength(min, rule), v.maxLength(max, rule), v.array(item, rule));
}

/** The index of the first item that is not a token id, or -1. */
export function firstInvalidId(ids: readonly unknown[], vocabSize: number): number {
  return ids.findIndex((id) => typeof id !== "number" || !Number.isInteger(id) || id < 0 || id >= vocabSize);
}

/** Describes the first item that is not a token id; null if all are. `where` names the list. */
export function invalidIdIn(ids: readonly unknown[], vocabSize: number, where = ""): Found | null {
  const at = firstInvalidId(ids, vocabSize);
  return at < 0 ? null : new Found(`${describe(ids[at])} at position ${at}${where}`);
}

/** A list of `min` to `max` token ids. The fault describes the first item that is not one. */
export function tokenIds({ vocabSize }: Pick<RequestBounds, "vocabSize">, min: number, max: number) {
  const rule = `must be a list of ${min} to ${max} token ids (0 to ${vocabSize - 1})`;
  return v.pipe(
    v.array(v.unknown(), rule),
    v.minLength(min, rule),
    v.maxLength(max, rule),
    v.rawTransform<unknown[], number[]>(({ dataset, addIssue, NEVER }) => {
      const invalidId = invalidIdIn(dataset.value, vocabSize);
      if (!invalidId) return dataset.value.map(Number);
      addIssue({ message: rule, input: invalidId });
      return NEVER;
    }),
  );
}

/** The message of an object's schema, which also speaks for keys that are missing. */
export const objectRule =
  (rule: string) =>
  ({ path }: v.ObjectIssue): string =>
    path?.at(-1)?.origin === "key" ? "is required" : rule;

/** Any object. */
export function objectField(rule: string) {
  return v.custom<Record<string, unknown>>(isObject, rule);
}

const modelRule = "must be the name of a model, a string of 1 to 512 characters";

/** `model`: the base if absent. */
export const modelField = v.optional(
  v.pipe(v.string(modelRule), v.minLength(1, modelRule), v.maxLength(512, modelRule)),
);

const languageRule = "must be the name of a language";
const languageName = v.pipe(v.string(languageRule), v.minLength(1, languageRule), v.maxLength(64, languageRule));

/** What a translator's sources are written in, and what their answers are to be written in. */
export const languageEntries = { src_lang: v.optional(languageName), tgt_lang: v.optional(languageName) };
