/** The model that an untrusted body asks for, for the log. Only existing names may be logged. */
import type { ModelNames } from "../gateway/model-gateway.js";

/** {} if the body names no model, or one that does not exist. */
export function askedModel(models: Pick<ModelNames, "get">, body: unknown): { readonly model?: string } {
  if (typeof body !== "object" || body === null || !("model" in body) || typeof body.model !== "string") return {};
  try {
    return { model: models.get(body.model).name };
  } catch {
    return {};
  }
}
