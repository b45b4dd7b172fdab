/** What the gateway tells of its work, for metrics and access lines. Never a prompt's or an answer's text. */
import type { ErrorCode } from "../base/errors.js";
import type { Usage } from "./parts.js";

export const routes = ["completions", "chat", "tokenize", "detokenize"] as const;
export type Route = (typeof routes)[number];

/** `refused`: the request's own fault (4xx). `rejected`: no room or no time (429, 503). `failed`: ours. */
export type Outcome = "completed" | "cancelled" | "refused" | "rejected" | "failed";

/** Everything about a request that has ended. */
export interface RequestSummary {
  readonly route: Route;
  /** The name asked for, or the base's where none was, once it was found to exist; else null. */
  readonly model: string | null;
  /** The adapter's name; null for the base and for names that do not exist. */
  readonly adapter: string | null;
  readonly digest: string | null;
  readonly outcome: Outcome;
  readonly code: ErrorCode | null;
  readonly usage: Usage | null;
  readonly queueMs: number | null;
  readonly timeToFirstTokenMs: number | null;
  readonly durationMs: number;
}

export type UploadOutcome = "created" | "replaced" | "identical" | "refused" | "failed";

/** Calls are synchronous and must be cheap. */
export interface GatewayObserver {
  queued?(seconds: number): void;
  firstToken?(seconds: number): void;
  interToken?(seconds: number): void;
  ended?(summary: RequestSummary): void;
  uploaded?(outcome: UploadOutcome): void;
}

export function outcomeOf(code: ErrorCode, status: number): Outcome {
  if (code === "cancelled") return "cancelled";
  if (status === 429 || status === 503 || code === "timeout") return "rejected";
  return status < 500 ? "refused" : "failed";
}
