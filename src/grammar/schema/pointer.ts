/** Places in a schema, as JSON pointers: what a `$ref` points at, and faults that say where they are. */

import { isObject } from "../../base/json.js";
import { GrammarFault, shown } from "../fault.js";

/** What `ref` points at in the whole schema; `path` is the place of the reference. Throws GrammarFault. */
export function find(root: unknown, ref: string, path: string): unknown {
  if (ref !== "#" && !ref.startsWith("#/")) {
    throw fault(path, `\`$ref\` may point only into the schema itself, with "#" or "#/..."; found "${shown(ref)}"`);
  }
  let target: unknown = root;
  for (const part of ref.split("/").slice(1)) {
    const name = unescaped(part);
    const holder: unknown = target;
    if (Array.isArray(holder) && /^\d{1,9}$/.test(name)) target = holder[Number(name)];
    else target = isObject(holder) && Object.hasOwn(holder, name) ? holder[name] : undefined;
  }
  if (target === undefined) throw fault(path, `\`$ref\` points at nothing: "${shown(ref)}"`);
  return target;
}

/** Runs `read`, and gives its faults their place in the schema. */
export function at<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw error instanceof GrammarFault ? fault(path, error.message) : error;
  }
}

/** A place as a JSON pointer, shortened from its start: its end says most. */
export function fault(path: string, message: string): GrammarFault {
  if (path === "") return new GrammarFault(`at its root: ${message}`);
  return new GrammarFault(`at \`${path.length <= 128 ? path : `…${path.slice(-128)}`}\`: ${message}`);
}

const unescaped = (part: string): string => {
  try {
    return decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~");
  } catch {
    return part.replaceAll("~1", "/").replaceAll("~0", "~");
  }
};

/** A property's name as a part of a pointer. */
export const escapedName = (name: string): string => name.replaceAll("~", "~0").replaceAll("/", "~1");
