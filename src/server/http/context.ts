/** The context of one HTTP request: its id, its abort signal and its access log line. */
import { randomUUID } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import type { NextFunction, Request, Response } from "express";
import type { LorikeetError } from "../../base/errors.js";
import type { Logger } from "../../base/log.js";
import type { ErrorForm } from "../../gateway/fault.js";
import type { RequestSummary } from "../../gateway/observer.js";
import type { ClientAddressOf } from "../access/client-address.js";
import type { Metrics } from "../metrics/metrics.js";
import type { ServerOptions } from "../options.js";
import { slowReaderFault } from "../reader-pace.js";

export interface RequestContext {
  readonly id: string;
  /** The client's key for per-client limits. */
  readonly client: string;
  /** Aborts when the client disconnects before the response is complete. */
  readonly signal: AbortSignal;
  /** The error that was sent. */
  fault: LorikeetError | null;
  /** The error format, if it is not OpenAI's. */
  errorForm?: ErrorForm;
  /** The request body, if the operator wants bodies in the log. */
  body?: unknown;
  /** The requested model, if it exists. Logged for requests that never began. */
  model?: string;
  /** How the generation ended, if there was one. */
  summary: Promise<RequestSummary> | null;
}

export interface ContextParts {
  readonly logger: Logger;
  readonly clientAddress: ClientAddressOf;
  readonly metrics: Metrics;
  readonly options: Pick<ServerOptions, "slowReaderTimeoutMs">;
}

const contexts = new WeakMap<Response, RequestContext>();
/** Polled by machines, so logged at debug level only. */
const quietPaths = new Set(["/health", "/ready", "/v2/health/live", "/v2/health/ready", "/metrics"]);
/** Read by an open page, mostly every few seconds. Answers are logged at debug level only, refusals like any other. */
const watchedPaths =
  /^\/(|(v1\/)?(adapters|(adapters|models)\/.+\/card|fine_tuning\/jobs|fine_tuning\/jobs\/[^/]+\/events))$/;

function isQuiet({ method }: Request, path: string, { statusCode }: Response): boolean {
  if (quietPaths.has(path)) return true;
  return method === "GET" && statusCode < 400 && watchedPaths.test(path);
}

/** The client's own id, if it is safe in logs and headers; otherwise a new one. */
export function requestId(headers: IncomingHttpHeaders): string {
  const given = headers["x-request-id"];
  return typeof given === "string" && /^[A-Za-z0-9._:-]{1,128}$/.test(given) ? given : randomUUID();
}

/** Middleware: gives each request a context and an `x-request-id`, and logs one line when it ends. */
export function contextMiddleware(parts: ContextParts) {
  const { logger, clientAddress } = parts;
  return (req: Request, res: Response, next: NextFunction): void => {
    const startedAt = performance.now();
    const controller = new AbortController();
    const context: RequestContext = {
      id: requestId(req.headers),
      client: clientAddress(req),
      signal: controller.signal,
      fault: null,
      summary: null,
    };
    const { path } = req;
    contexts.set(res, context);
    res.setHeader("x-request-id", context.id);
    res.once("close", () => {
      if (!res.writableFinished) controller.abort();
      void logAccess(logger, req, res, path, context, startedAt);
    });
    watchReader(res, context, parts);
    next();
  };
}

/** Closes the connection if its client does not read the end of a fully written response in time. */
function watchReader(res: Response, context: RequestContext, { options, metrics }: ContextParts): void {
  res.once("prefinish", () => {
    const giveUp = (): void => {
      metrics.limited.inc({ limit: "slow-reader-timeout" });
      context.fault ??= slowReaderFault(
        `did not read the end for ${options.slowReaderTimeoutMs} ms`,
        options.slowReaderTimeoutMs,
      );
      res.destroy();
    };
    const timer = setTimeout(giveUp, options.slowReaderTimeoutMs);
    res.once("close", () => clearTimeout(timer));
  });
}

export function contextOf(res: Response): RequestContext {
  const context = contexts.get(res);
  if (!context) throw new Error("The request has no context: the middleware is missing.");
  return context;
}

async function logAccess(
  logger: Logger,
  req: Request,
  res: Response,
  path: string,
  context: RequestContext,
  startedAt: number,
): Promise<void> {
  const ms = Math.round(performance.now() - startedAt);
  const summary = await context.summary;
  const fields = {
    requestId: context.id,
    method: req.method,
    path,
    status: res.headersSent ? res.statusCode : 499,
    ms,
    remote: req.socket.remoteAddress,
    client: context.client,
    ...(res.writableFinished ? {} : { left: true }),
    ...faultFields(context.fault),
    ...(context.model === undefined ? {} : { model: context.model }),
    ...summaryFields(summary),
    ...(context.body === undefined ? {} : { body: context.body }),
  };
  if (isQuiet(req, path, res)) logger.debug(fields, "request");
  else logger.info(fields, "request");
}

/** The error fields of an access line. The log keeps paths that the client's copy of the message lacks. */
export function faultFields(fault: LorikeetError | null): object {
  if (!fault) return {};
  const { code, param, message, operator, status } = fault;
  // Messages of client errors may quote the request, so they stay out of the log.
  if (status < 500 && operator === undefined) return { code, param };
  return { code, param, reason: message, ...(operator === undefined ? {} : { operator }) };
}

/** The generation fields of an access line. */
export function summaryFields(summary: RequestSummary | null): object {
  if (!summary) return {};
  return {
    model: summary.model,
    digest: summary.digest,
    outcome: summary.outcome,
    ...(summary.code ? { code: summary.code } : {}),
    promptTokens: summary.usage?.promptTokens,
    completionTokens: summary.usage?.completionTokens,
    cachedTokens: summary.usage?.cachedTokens,
    queueMs: summary.queueMs,
    timeToFirstTokenMs: summary.timeToFirstTokenMs,
  };
}
