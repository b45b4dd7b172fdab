/** Faults of vLLM's two calls in vLLM's form: its statuses, its types, and the status again as the code. */
import type { Response } from "express";
import type { LorikeetError } from "../../base/errors.js";
import { errorBody, faultHeaders } from "../fault.js";

/** vLLM answers whatever is wrong with a request or an adapter with 400, and what it cannot find with 404. */
function statusOf({ status }: LorikeetError): number {
  const isOurs = status === 404 || status === 429 || status >= 499;
  return isOurs ? status : 400;
}

function typeOf(status: number, { code }: LorikeetError): string {
  if (code === "already_loaded") return "InvalidUserInput";
  if (status === 404) return "NotFoundError";
  return status < 500 ? "BadRequestError" : "InternalServerError";
}

/** Sends the fault, with Lorikeet's own code as `reason`. */
export function sendVllmFault(res: Response, fault: LorikeetError, privateFolders: readonly string[]): void {
  if (res.headersSent || res.destroyed) return;
  const { message, param, faults } = errorBody(fault, privateFolders).error;
  const status = statusOf(fault);
  const error = { message, type: typeOf(status, fault), param, code: status, reason: fault.code, faults };
  for (const [name, value] of Object.entries(faultHeaders(fault))) res.setHeader(name, value);
  res.status(status).setHeader("content-type", "application/json");
  res.end(JSON.stringify({ error }));
}
