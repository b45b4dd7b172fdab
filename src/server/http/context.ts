/** What belongs to one HTTP request: its id, its end as a signal, and its one access line. */
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
  /** Who asks, as limits for each client count it. */
  readonly client: string;
  /** Aborted when the client leaves before the answer is whole. */
  readonly signal: AbortSignal;
  /** The fault that was answered. */
  fault: LorikeetError | null;
  /** The form of faults, where it is not OpenAI's. */
  errorForm?: ErrorForm;
  /** The body, where the operator asked for bodies in the log. */
  body?: unknown;
  /** The model that was asked for, where it exists: of a request that never began. */
  model?: string;
  /** How the generation ended, when there was one. */
  summary: Promise<RequestSummary> | null;
}

export interface ContextParts {
  readonly logger: Logger;
  readonly clientAddress: ClientAddressOf;
  readonly metrics: Metrics;
  readonly options: Pick<ServerOptions, "slowReaderTimeoutMs">;
}

const contexts = new WeakMap<Response, RequestContext>();
/** Asked all the time by machines: their lines are for debugging. */
const quietPaths = new Set(["/health", "/ready", "/metrics"]);

/** A client's own id where it has one that is safe to write into logs and headers. */
export function requestId(headers: IncomingHttpHeaders): string {
  const given = headers["x-request-id"];
  return typeof given === "string" && /^[A-Za-z0-9._:-]{1,128}$/.test(given) ? given : randomUUID();
}

/** Middleware: gives every request its context and `x-request-id`, and logs one line when it is over. */
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

/** An answer that is written but not read is given up like a stream's. */
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
  if (quietPaths.has(path)) logger.debug(fields, "request");
  else logger.info(fields, "request");
}

/** A fault's part of an access line: the whole message, which a client may have read without its paths, where it tells an operator more. */
export function faultFields(fault: LorikeetError | null): object {
  if (!fault) return {};
  const { code, param, message, operator, status } = fault;
  // What clients do wrong is theirs to read; it may quote what they sent.
  if (status < 500 && operator === undefined) return { code, param };
  return { code, param, reason: message, ...(operator === undefined ? {} : { operator }) };
}

/** A generation's part of an access line. */
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
