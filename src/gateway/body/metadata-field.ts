/** OpenAI's `metadata`: pairs that are kept with an object and shown again. */
import * as v from "valibot";
import { isObject } from "../../base/json.js";

const rule = "must be an object of up to 16 strings of up to 512 characters, with names of up to 64";

export function metadataField() {
  const accepts = (value: unknown): boolean =>
    isObject(value) &&
    Object.keys(value).length <= 16 &&
    Object.entries(value).every(([key, text]) => key.length <= 64 && typeof text === "string" && text.length <= 512);
  return v.custom<Readonly<Record<string, string>>>(accepts, rule);
}
