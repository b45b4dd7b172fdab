/** Faults in Anthropic's form, whole or as the event that ends a stream. Lorikeet's own code is in the details. */
import type { ErrorForm, PublicFault } from "../fault.js";

export const anthropicErrorForm: ErrorForm = (fault, requestId) => ({
  status: fault.status,
  event: "error",
  body: {
    type: "error",
    error: {
      type: typeOf(fault),
      message: fault.message,
      details: { error_code: fault.code, param: fault.param },
    },
    request_id: requestId,
  },
});

const types: ReadonlyMap<number, string> = new Map([
  [401, "authentication_error"],
  [403, "permission_error"],
  [404, "not_found_error"],
  [408, "timeout_error"],
  [413, "request_too_large"],
  [429, "rate_limit_error"],
  [503, "overloaded_error"],
]);

function typeOf({ status }: PublicFault): string {
  return types.get(status) ?? (status < 500 ? "invalid_request_error" : "api_error");
}
