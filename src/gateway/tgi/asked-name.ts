/** The model that an untrusted `generate` body names, in any of the ways that LoRAX and TGI have. */

import { isObject } from "../../base/json.js";
import { firstName } from "../asked-name.js";
import type { AskedName } from "../bases.js";

export function adapterIdInBody(body: unknown): AskedName {
  const none = { name: null, param: "adapter_id" };
  if (!isObject(body)) return none;
  const fields = { ...(isObject(body.parameters) ? body.parameters : {}), ...body };
  if (typeof fields.adapter_id === "string") return { name: fields.adapter_id, param: "adapter_id" };
  const listed = firstName(fields.adapters, "adapters");
  if (listed.name !== null) return listed;
  return firstId(fields.merged_adapters, "ids") ?? firstId(fields.adapter_parameters, "adapter_ids") ?? none;
}

function firstId(merge: unknown, param: "ids" | "adapter_ids"): AskedName | null {
  const ids = isObject(merge) ? merge[param] : null;
  const first: unknown = Array.isArray(ids) ? ids[0] : null;
  return typeof first === "string" ? { name: first, param } : null;
}
