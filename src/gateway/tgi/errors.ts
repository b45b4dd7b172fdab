/** Faults in TGI's form: its statuses and its kinds. Lorikeet's own code is the `code`. */
import type { ErrorForm, PublicFault } from "../fault.js";

export const tgiErrorForm: ErrorForm = (fault) => ({
  status: fault.status === 400 || fault.status === 413 ? 422 : fault.status,
  body: { error: fault.message, error_type: kindOf(fault), code: fault.code, param: fault.param },
});

/** TGI's clients raise an exception of their own for each kind. */
function kindOf({ status, code }: PublicFault): string {
  if (status === 400 || status === 413 || status === 422) return "validation";
  if (status === 429 || status === 503) return "overloaded";
  return status >= 500 ? "generation" : code;
}
