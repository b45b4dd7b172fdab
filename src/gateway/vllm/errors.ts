/** Faults of vLLM's calls about adapters in vLLM's form: its statuses, its types, and the status repeated as the code. */
import type { ErrorForm, PublicFault } from "../fault.js";

/** Lorikeet's own code is the `reason`. */
export const vllmErrorForm: ErrorForm = (fault) => {
  const status = statusOf(fault);
  const { message, param, faults, code } = fault;
  const several = faults.length > 1 ? faults : undefined;
  const error = { message, type: typeOf(status, fault), param, code: status, reason: code, faults: several };
  return { status, contentType: "application/json", body: { error } };
};

/** vLLM answers whatever is wrong with a request or an adapter with 400, and what it cannot find with 404. */
function statusOf({ status }: PublicFault): number {
  return [401, 404, 429].includes(status) || status >= 499 ? status : 400;
}

function typeOf(status: number, { code }: PublicFault): string {
  if (code === "already_loaded") return "InvalidUserInput";
  if (status === 401) return "AuthenticationError";
  if (status === 404) return "NotFoundError";
  return status < 500 ? "BadRequestError" : "InternalServerError";
}
