/** The model that an untrusted body names, before anything else of it is read: which base answers decides how it is read. */

import { isObject } from "../base/json.js";
import type { AskedName } from "./bases.js";

/** `model`, or else the first of `adapters`. */
export function modelInBody(body: unknown): AskedName {
  if (!isObject(body)) return { name: null, param: "model" };
  if (typeof body.model === "string") return { name: body.model, param: "model" };
  return firstName(body.adapters, "adapters");
}

/** The first name of a list of `{"name", "weight"}`. */
export function firstName(adapters: unknown, param: string): AskedName {
  const first: unknown = Array.isArray(adapters) ? adapters[0] : null;
  if (isObject(first) && typeof first.name === "string") return { name: first.name, param: `${param}[0].name` };
  return { name: null, param: "model" };
}
