/** Which model an untrusted body asks for, for the log: only a name that exists is a name that may be written there. */
import type { Gateway } from "../gateway/gateway.js";

/** {} where the body names none, or none that there is. */
export function askedModel(gateway: Gateway, body: unknown): { readonly model?: string } {
  if (typeof body !== "object" || body === null || !("model" in body) || typeof body.model !== "string") return {};
  try {
    return { model: gateway.models.get(body.model).name };
  } catch {
    return {};
  }
}
