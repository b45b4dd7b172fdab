/** Builds the Express app: what every request passes, what answers operators and supervisors, then the API, and last the faults. */

import express, { type Express, type NextFunction, type Request, type RequestHandler, type Response } from "express";
import { LorikeetError } from "../../base/errors.js";
import type { Logger } from "../../base/log.js";
import type { Bases } from "../../gateway/bases.js";
import type { FineTuning } from "../../gateway/fine-tuning/fine-tuning.js";
import { keyMiddleware, sourceMiddleware } from "../access/access.js";
import type { ClientAddressOf } from "../access/client-address.js";
import type { Connections } from "../access/connections.js";
import type { Gate } from "../drain.js";
import { sendFault, toFault } from "../fault.js";
import type { Metrics } from "../metrics/metrics.js";
import type { ServerOptions } from "../options.js";
import { type ApiParts, addApi, generateOf } from "./api.js";
import { contextMiddleware, contextOf } from "./context.js";
import { addErrorForms } from "./error-forms.js";
import { jsonBody } from "./json-body.js";
import { discardBody } from "./linger.js";
import { factsHandler, pageHandlers } from "./page.js";
import type { PageFiles } from "./page-files.js";
import { type Handlers, route } from "./route.js";

export interface AppParts extends Omit<ApiParts, "options" | "json"> {
  readonly gate: Gate;
  readonly clientAddress: ClientAddressOf;
  readonly connections: Connections;
  readonly metrics: Metrics;
  readonly logger: Logger;
  readonly options: ServerOptions;
  /** Identifies the process. */
  readonly instance: string;
  /** null: no page. */
  readonly page: PageFiles | null;
}

type BareParts = Omit<AppParts, "bases" | "responses" | "fineTuning">;

/** The app that answers while the model loads: alive, not ready, process metrics only. */
export function createWaitingApp(parts: BareParts): Express {
  const app = createBare(parts, null, null, { post: [gateMiddleware(parts.gate)] });
  app.use(gateMiddleware(parts.gate));
  return closeRoutes(app, parts);
}

/** A connection past the limits gets answers to probes only, and closes after one. */
function roomMiddleware(connections: Connections): RequestHandler {
  return (req, res, next) => {
    const refusal = connections.refusalOf(req.socket);
    if (refusal) res.setHeader("connection", "close");
    next(refusal && !probes.has(req.path) ? refusal : undefined);
  };
}

const probes: ReadonlySet<string> = new Set(["/health", "/ready", "/v2/health/live", "/v2/health/ready"]);

export function createApp(parts: AppParts): Express {
  const { bases, responses, metrics, gate } = parts;
  const options = { ...parts.options, onLimit: (limit: string) => metrics.limited.inc({ limit }) };
  const json = jsonBody(options);
  const app = createBare(
    parts,
    bases,
    parts.fineTuning,
    responses ? { post: [gateMiddleware(gate), json, generateOf({ bases, options }).either] } : {},
  );
  app.use(gateMiddleware(gate));
  addApi(app, { ...parts, options, json });
  return closeRoutes(app, parts);
}

function gateMiddleware(gate: Gate): RequestHandler {
  return (_req, _res, next) => {
    gate.check();
    next();
  };
}

/** The middleware that every request passes, and the operator's routes. `root` has more handlers of `/`. */
function createBare(
  parts: BareParts,
  bases: Bases | null,
  fineTuning: FineTuning | null,
  root: Handlers = {},
): Express {
  const app = express();
  app.disable("x-powered-by");
  app.disable("etag");
  app.set("query parser", false);
  app.use(contextMiddleware(parts));
  addErrorForms(app);
  app.use(roomMiddleware(parts.connections));
  app.use(sourceMiddleware(parts.access));
  addProbes(app, parts, bases);
  if (parts.page) {
    const page = pageHandlers(parts.page);
    app.use(page.index);
    route(app, "/assets/:name", { get: [page.asset] });
  }
  app.use(keyMiddleware(parts.access));
  addMetrics(app, parts);
  route(app, "/", { get: [factsHandler(parts.instance, bases, fineTuning)], ...root });
  return app;
}

/** Answers unknown routes and thrown errors. */
function closeRoutes(app: Express, parts: BareParts): Express {
  app.use((req, _res, next) => {
    next(new LorikeetError("route_not_found", `There is no route ${JSON.stringify(req.path.slice(0, 200))}.`));
  });
  app.use(faultMiddleware(parts));
  return app;
}

/** Need no key, so that supervisors can probe them. */
function addProbes(app: Express, { gate }: Pick<AppParts, "gate">, bases: Bases | null): void {
  const ready = gateMiddleware(gate);
  const names = bases?.all.map(({ name }) => name) ?? [];
  const models = names.length > 1 ? { models: names } : {};
  route(app, "/health", { get: [(_req, res) => void res.json({ status: "ok" })] });
  route(app, "/ready", { get: [ready, (_req, res) => void res.json({ status: "ready", ...models })] });
  route(app, "/v2/health/live", { get: [(_req, res) => void res.json({ live: true })] });
  route(app, "/v2/health/ready", { get: [ready, (_req, res) => void res.json({ ready: true })] });
}

function addMetrics(app: Express, { metrics }: Pick<AppParts, "metrics">): void {
  route(app, "/metrics", {
    get: [
      async (_req, res) => {
        const text = await metrics.render();
        res.setHeader("content-type", metrics.registry.contentType);
        res.send(text);
      },
    ],
  });
}

function faultMiddleware({ gate, logger, options }: Pick<AppParts, "gate" | "logger" | "options">) {
  return (error: unknown, req: Request, res: Response, _next: NextFunction): void => {
    const fault = toFault(error, options.maxBodyBytes);
    const context = contextOf(res);
    context.fault = fault;
    if (fault.code === "internal") logger.error({ requestId: context.id, err: error }, "A request failed");
    if (res.headersSent) {
      res.destroy();
      return;
    }
    discardBody(req, res, options.lingerTimeoutMs);
    if (fault === gate.refusal) res.setHeader("connection", "close");
    sendFault(res, fault, options.privateFolders, context.errorForm);
  };
}
