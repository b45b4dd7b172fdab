/** Faults in the form of text-embeddings-inference: its statuses and its types. Lorikeet's own code is the `code`. */

import type { ErrorForm, PublicFault } from "../fault.js";

export const teiErrorForm: ErrorForm = (fault) => ({
  status: statusOf(fault),
  body: { error: fault.message, error_type: typeOf(fault), code: fault.code, param: fault.param },
});

/** A body that cannot be read is 422, a text or a list that is too long 413, a model that does not fit the route 424. */
function statusOf({ status, code }: PublicFault): number {
  if (code === "context_length_exceeded" || code === "prompt_too_long") return 413;
  if (code === "model_unsupported") return 424;
  return status === 400 ? 422 : status;
}

function typeOf({ status, code }: PublicFault): string {
  if (code === "model_unsupported") return "Backend";
  if (code === "tokenizer_missing") return "Tokenizer";
  if (status === 503) return "Unhealthy";
  if (status === 429) return "Overloaded";
  return status < 500 ? "Validation" : "Backend";
}
