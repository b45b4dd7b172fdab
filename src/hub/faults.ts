/** Errors of a hub: temporary ones, which a retry may fix, and those that the user has to fix. */

import { type ErrorCode, type ErrorDetails, LorikeetError } from "../base/errors.js";
import { type Kind, type Repository, shownName } from "./repository.js";

/** A broken transfer or a busy hub. A retry may succeed. */
export class TemporaryFault extends Error {
  override readonly name = "TemporaryFault";
  /** The wait that the hub asks for; null if it does not say. */
  readonly waitMs: number | null;

  constructor(message: string, waitMs: number | null = null) {
    super(message);
    this.waitMs = waitMs;
  }
}

export function hubFault(code: ErrorCode, message: string, details: ErrorDetails = {}): LorikeetError {
  return new LorikeetError(code, message, details);
}

export interface AnswerFacts {
  readonly status: number;
  readonly headers: Headers;
}

export interface Asked {
  /** The responding host, for messages. */
  readonly host: string;
  readonly endpoint: string;
  readonly repository: Repository;
  /** The requested kind; null if either will do. */
  readonly kind: Kind | null;
  readonly hasToken: boolean;
}

/** The error for a response that is neither a success nor a redirect. */
export function faultOf(answer: AnswerFacts, asked: Asked): Error {
  const { status, headers } = answer;
  const { host, repository } = asked;
  if (status === 408 || status === 429 || status >= 500) {
    return new TemporaryFault(`${host} answered ${status}`, waitOf(headers));
  }
  const code = headers.get("x-error-code") ?? "";
  if (code === "GatedRepo") return gated(asked);
  if (code === "RevisionNotFound") {
    return hubFault("hub_not_found", `${repository.id} on ${host} has no revision ${repository.revision}.`, {
      found: status,
    });
  }
  if (code === "EntryNotFound") {
    return hubFault(
      "hub_not_found",
      `${host} lists a file of ${shownName(repository)} that it no longer has: run the command once more.`,
    );
  }
  if (
    status === 401 &&
    /invalid (credentials|user ?name|token)/i.test(headers.get("x-error-message") ?? "") &&
    asked.hasToken
  ) {
    return hubFault("hub_refused", `${host} does not accept the token: set HF_TOKEN to a valid one, or unset it.`, {
      found: status,
    });
  }
  if (code === "RepoNotFound" || status === 401 || status === 404) return missing(status, asked);
  if (status === 403) {
    return hubFault("hub_refused", `${host} does not let this token read ${repository.id}.`, { found: status });
  }
  return hubFault("hub_invalid", `${host} answered ${status}, which no Hugging Face hub does.`, { found: status });
}

function gated({ host, endpoint, repository: { id }, hasToken }: Asked): LorikeetError {
  const licence = `accept its licence at ${endpoint}/${id}`;
  const advice = hasToken
    ? `${licence} with the account of your token, and wait until access is granted`
    : `${licence}, then set HF_TOKEN to a token of your account`;
  return hubFault("hub_refused", `${id} is gated on ${host}: ${advice}.`);
}

function missing(status: number, { host, repository: { id }, kind, hasToken }: Asked): LorikeetError {
  const how = hasToken
    ? "or this token is not allowed to read it"
    : "or it is private; to read a private one, set HF_TOKEN";
  return hubFault("hub_not_found", `${host} has no ${kind ?? "model or adapter"} ${id}, ${how}.`, {
    param: id,
    found: status,
  });
}

/** Reads Retry-After, in seconds or as a date, or else the seconds until the rate limit resets. */
function waitOf(headers: Headers): number | null {
  const after = headers.get("retry-after") ?? /(?:^|;)\s*t=(\d+)/.exec(headers.get("ratelimit") ?? "")?.[1] ?? "";
  if (/^\d+$/.test(after)) return Number(after) * 1000;
  const date = Date.parse(after);
  return Number.isNaN(date) ? null : Math.max(0, date - Date.now());
}
