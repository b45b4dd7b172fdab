/** The faults of names that a server does not have, with the closest ones that it has. */

import { LorikeetError } from "../base/errors.js";
import { closest } from "../base/nearest.js";

/** How many names a message shows. */
const most = 3;

/** `known`: what this server has. `param` names the model in the request. */
export function unknownModel(name: string, known: readonly string[], param = "model"): LorikeetError {
  const message = `The model \`${name}\` does not exist.${shown(name, known, "models", "GET /v1/models")}`;
  return new LorikeetError("model_not_found", message, { param });
}

export function unknownAdapter(name: string, known: readonly string[]): LorikeetError {
  const message = `The adapter \`${name}\` does not exist.${shown(name, known, "adapters", "GET /v1/adapters")}`;
  return new LorikeetError("adapter_not_found", message, { param: "name" });
}

function shown(name: string, known: readonly string[], noun: string, route: string): string {
  if (known.length === 0) return "";
  if (known.length <= most) return ` This server has ${quoted(known)}.`;
  const near = closest(name, known, most);
  if (near.length === 0) return ` ${route} lists the ${known.length} ${noun} of this server.`;
  return ` The closest of the ${known.length} ${noun} of this server are ${quoted(near)}; ${route} lists all.`;
}

const quoted = (names: readonly string[]): string => names.map((name) => `\`${name}\``).join(", ");
