/** The gateway's events for metrics and access logs. They never contain a prompt's or an answer's text. */
import type { ErrorCode, LorikeetError } from "../base/errors.js";
import type { CompileOutcome } from "../grammar/compiler.js";
import type { Target } from "./catalog.js";
import type { Usage } from "./parts.js";

export const routes = [
  "completions",
  "chat",
  "responses",
  "generate",
  "messages",
  "count_tokens",
  "tokenize",
  "detokenize",
  "infer",
  "classify",
  "predict",
  "pooling",
  "embeddings",
  "embed",
  "score",
  "rerank",
  "similarity",
  "pipeline",
] as const;
export type Route = (typeof routes)[number];

/** `refused`: the request's own fault (4xx). `rejected`: no room or no time (429, 503). `failed`: ours. */
export type Outcome = "completed" | "cancelled" | "refused" | "rejected" | "failed";

/** Everything about a request that has ended. */
export interface RequestSummary {
  readonly route: Route;
  /** The requested name, or the base's if none was given; null if it does not exist. */
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
  grammar?(outcome: CompileOutcome, seconds: number): void;
  queued?(seconds: number): void;
  firstToken?(seconds: number): void;
  interToken?(seconds: number): void;
  ended?(summary: RequestSummary): void;
  uploaded?(outcome: UploadOutcome): void;
}

/** `end` is null if nothing was generated. `startedAt` is from performance.now(). */
export function summaryOf(
  route: Route,
  startedAt: number,
  target: Target | null,
  error: LorikeetError | null,
  end: Pick<RequestSummary, "usage" | "queueMs" | "timeToFirstTokenMs"> | null,
): RequestSummary {
  return {
    route,
    model: target?.model ?? null,
    adapter: target?.adapter ?? null,
    digest: target?.digest ?? null,
    outcome: error ? outcomeOf(error) : "completed",
    code: error?.code ?? null,
    usage: end?.usage ?? null,
    queueMs: end?.queueMs ?? null,
    timeToFirstTokenMs: end?.timeToFirstTokenMs ?? null,
    durationMs: performance.now() - startedAt,
  };
}

function outcomeOf({ code, status }: LorikeetError): Outcome {
  if (code === "cancelled") return "cancelled";
  if (status === 429 || status === 503 || code === "timeout") return "rejected";
  return status < 500 ? "refused" : "failed";
}

/** Forwards every event to all observers. */
export class ObserverSet implements GatewayObserver {
  readonly #observers = new Set<GatewayObserver>();

  add(observer: GatewayObserver): void {
    this.#observers.add(observer);
  }

  grammar(outcome: CompileOutcome, seconds: number): void {
    for (const observer of this.#observers) observer.grammar?.(outcome, seconds);
  }

  queued(seconds: number): void {
    for (const observer of this.#observers) observer.queued?.(seconds);
  }

  firstToken(seconds: number): void {
    for (const observer of this.#observers) observer.firstToken?.(seconds);
  }

  interToken(seconds: number): void {
    for (const observer of this.#observers) observer.interToken?.(seconds);
  }

  ended(summary: RequestSummary): void {
    for (const observer of this.#observers) observer.ended?.(summary);
  }

  uploaded(outcome: UploadOutcome): void {
    for (const observer of this.#observers) observer.uploaded?.(outcome);
  }
}
