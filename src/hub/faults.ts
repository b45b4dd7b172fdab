/** What can go wrong with a hub: faults that another try may mend, and those that somebody has to. */

import { type ErrorCode, type ErrorDetails, LorikeetError } from "../base/errors.js";
import { type Repository, shownName } from "./repository.js";

/** A transfer that broke, or a hub that is busy: another try may do. */
export class TemporaryFault extends Error {
  override readonly name = "TemporaryFault";
  /** How long the hub asks to be left alone; null where it does not say. */
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
  /** Whose answer it is, for messages: an address without a path. */
  readonly host: string;
  readonly endpoint: string;
  readonly repository: Repository;
  readonly hasToken: boolean;
}

/** The fault of an answer that is neither a success nor a redirect. */
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
    return hubFault("hub_not_found", `${shownName(repository)} on ${host} has lost a file that it lists: try again.`);
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
  return hubFault("hub_invalid", `${host} answered ${status}, which a Hugging Face hub does not.`, { found: status });
}

function gated({ host, endpoint, repository: { id }, hasToken }: Asked): LorikeetError {
  const licence = `accept its licence at ${endpoint}/${id}`;
  const advice = hasToken
    ? `${licence} with the account of your token, and wait until access is granted`
    : `${licence}, then set HF_TOKEN to a token of your account`;
  return hubFault("hub_refused", `${id} is gated on ${host}: ${advice}.`);
}

function missing(status: number, { host, repository: { id }, hasToken }: Asked): LorikeetError {
  const how = hasToken
    ? "or this token is not allowed to read it"
    : "or it is private; to read a private one, set HF_TOKEN";
  return hubFault("hub_not_found", `${host} has no model ${id}, ${how}.`, { param: id, found: status });
}

/** Retry-After in seconds or as a date, or the seconds until a rate limit is renewed. */
function waitOf(headers: Headers): number | null {
  const after = headers.get("retry-after") ?? /(?:^|;)\s*t=(\d+)/.exec(headers.get("ratelimit") ?? "")?.[1] ?? "";
  if (/^\d+$/.test(after)) return Number(after) * 1000;
  const date = Date.parse(after);
  return Number.isNaN(date) ? null : Math.max(0, date - Date.now());
}
