/** The vocabulary of a tokenizer.json's model, which added tokens do not belong to. */

import { LorikeetError } from "../../base/errors.js";
import { isObject, type Json } from "../../base/json.js";
import { asString } from "../json.js";

export const invalidTokenizer = (fault: string): LorikeetError =>
  new LorikeetError("model_invalid", `The tokenizer cannot be used: ${fault}.`, { param: "tokenizer.json" });

/** The ids of a vocabulary that `define` has checked. */
export function readVocabulary({ vocab }: Json): Map<string, number> {
  const ids = new Map<string, number>();
  for (const [token, id] of Object.entries(isObject(vocab) ? vocab : {}))
    if (typeof id === "number") ids.set(token, id);
  return ids;
}

/** The id of the token for unknown text. @throws LorikeetError `model_invalid` if the vocabulary lacks it. */
export function unknownId(model: Json, ids: ReadonlyMap<string, number>): number {
  const token = asString(model.unk_token);
  const id = token === null ? undefined : ids.get(token);
  if (id === undefined)
    throw invalidTokenizer(`its unk_token is ${JSON.stringify(model.unk_token)}, which the vocabulary lacks`);
  return id;
}
