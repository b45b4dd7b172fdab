/** Builds the Express app: middleware for every request, then a handler for each path and method. */
import express, { type Express, type NextFunction, type Request, type RequestHandler, type Response } from "express";
import { LorikeetError } from "../../base/errors.js";
import type { Logger } from "../../base/log.js";
import { messagesProtocol } from "../../gateway/anthropic/protocol.js";
import type { Gateway } from "../../gateway/gateway.js";
import type { ModelGateway } from "../../gateway/model-gateway.js";
import { modelObject } from "../../gateway/openai/models.js";
import { openAiProtocols } from "../../gateway/openai/protocol.js";
import type { Responses } from "../../gateway/responses/responses.js";
import type { TaskGateway } from "../../gateway/tasks/task-gateway.js";
import { tgiProtocols } from "../../gateway/tgi/protocol.js";
import { type Access, keyMiddleware, sourceMiddleware } from "../access/access.js";
import type { ClientAddressOf } from "../access/client-address.js";
import type { Connections } from "../access/connections.js";
import type { Gate } from "../drain.js";
import { sendFault, toFault } from "../fault.js";
import type { Metrics } from "../metrics/metrics.js";
import type { ServerOptions } from "../options.js";
import type { ReaderBounds } from "../reader-pace.js";
import { adapterHandlers } from "./adapter-routes.js";
import { contextMiddleware, contextOf } from "./context.js";
import { addErrorForms } from "./error-forms.js";
import { generateHandler } from "./generate-routes.js";
import { jsonBody, pictureBody } from "./json-body.js";
import { kserveHandlers } from "./kserve-routes.js";
import { discardBody } from "./linger.js";
import { prefersPage, sendFaultPage, sendRoot } from "./page.js";
import { pipelineHandler } from "./pipeline-routes.js";
import { responsesHandlers } from "./responses-routes.js";
import { sendJson } from "./send.js";
import { taskHandlers } from "./task-routes.js";
import { tensorBody } from "./tensor-body.js";
import { tokenizeHandlers } from "./tokenize-routes.js";

export interface AppParts {
  readonly gateway: Gateway;
  readonly responses: Responses;
  readonly gate: Gate;
  readonly access: Access;
  readonly clientAddress: ClientAddressOf;
  readonly connections: Connections;
  readonly metrics: Metrics;
  readonly logger: Logger;
  readonly options: ServerOptions;
}

/** The app that answers while the model loads: alive, not ready, process metrics only. */
export function createWaitingApp(parts: Omit<AppParts, "gateway" | "responses">): Express {
  const app = createBare(parts, { post: [gateMiddleware(parts.gate)] });
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

type Method = "get" | "post" | "put" | "patch" | "delete";
type Handlers = Partial<Record<Method, RequestHandler[]>>;

export function createApp(parts: AppParts): Express {
  const { gateway, metrics, gate } = parts;
  const options = { ...parts.options, onLimit: (limit: string) => metrics.limited.inc({ limit }) };
  const json = jsonBody(options);
  const generate = generateHandler(tgiProtocols(gateway).either, gateway, options);
  const app = createBare(parts, { post: [gateMiddleware(gate), json, generate] });
  addModelApi(app, { ...parts, options, json });
  addTextApi(app, { ...parts, options, json });
  return closeRoutes(app, parts);
}

/** The app of a task model. */
export function createTaskApp(parts: Omit<AppParts, "gateway" | "responses"> & Served<TaskGateway>): Express {
  const { gateway, metrics, gate } = parts;
  const options = { ...parts.options, onLimit: (limit: string) => metrics.limited.inc({ limit }) };
  const json = jsonBody(options);
  const app = createBare(parts);
  const named = { post: [pictureBody(options), pipelineHandler(gateway, options)] };
  addModelApi(app, { gateway, gate, options, json, named });
  route(app, "/hf-inference/models/*name", named);
  addTaskApi(app, { gateway, options, json });
  return closeRoutes(app, parts);
}

function gateMiddleware(gate: Gate): RequestHandler {
  return (_req, _res, next) => {
    gate.check();
    next();
  };
}

/** The middleware that every request passes, and the operator's routes. `root` has more handlers of `/`. */
function createBare(parts: Omit<AppParts, "gateway" | "responses">, root: Handlers = {}): Express {
  const app = express();
  app.disable("x-powered-by");
  app.disable("etag");
  app.set("query parser", false);
  app.use(contextMiddleware(parts));
  addErrorForms(app);
  app.use(roomMiddleware(parts.connections));
  app.use(sourceMiddleware(parts.access));
  addProbes(app, parts);
  app.use(keyMiddleware(parts.access));
  addMetrics(app, parts);
  route(app, "/", { get: [sendRoot], ...root });
  return app;
}

/** Answers unknown routes and thrown errors. */
function closeRoutes(app: Express, parts: Omit<AppParts, "gateway" | "responses">): Express {
  app.use((req, _res, next) => {
    next(new LorikeetError("route_not_found", `There is no route ${JSON.stringify(req.path.slice(0, 200))}.`));
  });
  app.use(faultMiddleware(parts));
  return app;
}

/** The only routes that need no key, so that supervisors can probe them. */
function addProbes(app: Express, { gate }: Pick<AppParts, "gate">): void {
  const ready = gateMiddleware(gate);
  route(app, "/health", { get: [(_req, res) => void res.json({ status: "ok" })] });
  route(app, "/ready", { get: [ready, (_req, res) => void res.json({ status: "ready" })] });
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

interface Served<Kind> {
  readonly gateway: Kind;
}

interface Named {
  /** More handlers of a model by its name. */
  readonly named?: Handlers;
}

interface ApiParts {
  readonly options: ServerOptions & ReaderBounds;
  readonly json: RequestHandler;
}

/** Each path also without `/v1`, as in llama.cpp. */
const apiOf =
  (app: Express) =>
  (path: string, handlers: Handlers): void =>
    route(app, [`/v1${path}`, path], handlers);

/** What every model has: names and adapters. */
function addModelApi(
  app: Express,
  { gateway, gate, options, json, named }: ApiParts & Served<ModelGateway> & Pick<AppParts, "gate"> & Named,
): void {
  const adapters = adapterHandlers(gateway, options);
  const api = apiOf(app);
  app.use(gateMiddleware(gate));
  api("/models", {
    get: [(_req, res) => sendJson(res, { object: "list", data: gateway.models.list().map(modelObject) }, options)],
  });
  api("/models/*name", {
    get: [(req, res) => void res.json(modelObject(gateway.models.get([req.params.name ?? ""].flat().join("/"))))],
    ...named,
  });
  api("/adapters", { get: [adapters.list] });
  api("/adapters/:name", {
    get: [adapters.get],
    put: [adapters.put],
    patch: [json, adapters.patch],
    delete: [adapters.remove],
  });
  api("/adapters/:name/download", { get: [adapters.download] });
  api("/load_lora_adapter", { post: [json, adapters.load] });
  api("/unload_lora_adapter", { post: [json, adapters.unload] });
}

/** What task models have besides. */
function addTaskApi(app: Express, { gateway, options, json }: ApiParts & Served<TaskGateway>): void {
  const kserve = kserveHandlers(gateway, options);
  const { classify, embeddings, score, rerank } = taskHandlers(gateway, options);
  const api = apiOf(app);
  api("/ws", { get: [askForHandshake] });
  api("/classify", { post: [json, classify] });
  api("/score", { post: [json, score] });
  api("/rerank", { post: [json, rerank] });
  api("/embeddings", { post: [json, embeddings] });
  route(app, "/v2", { get: [kserve.server] });
  // A name may have slashes, so the longer paths come first.
  for (const path of ["/v2/models/*name/versions/:version", "/v2/models/*name"]) {
    route(app, `${path}/ready`, { get: [kserve.ready] });
    route(app, `${path}/infer`, { post: [tensorBody(options), kserve.infer] });
    route(app, path, { get: [kserve.model] });
  }
}

/** What models that generate text have besides. */
function addTextApi(
  app: Express,
  { gateway, responses, access, options, json }: ApiParts & Pick<AppParts, "gateway" | "responses" | "access">,
): void {
  const { completions, chat } = openAiProtocols(gateway);
  const { generate, generateStream } = tgiProtocols(gateway);
  const stored = responsesHandlers({ responses, gateway, access, options });
  const { tokenize, detokenize, countTokens } = tokenizeHandlers(gateway, options);
  const api = apiOf(app);
  api("/completions", { post: [json, generateHandler(completions, gateway, options)] });
  api("/chat/completions", { post: [json, generateHandler(chat, gateway, options)] });
  api("/messages", { post: [json, generateHandler(messagesProtocol(gateway), gateway, options)] });
  api("/messages/count_tokens", { post: [json, countTokens] });
  api("/generate", { post: [json, generateHandler(generate, gateway, options)] });
  api("/generate_stream", { post: [json, generateHandler(generateStream, gateway, options)] });
  api("/responses", { get: [askForHandshake], post: [json, stored.create] });
  api("/responses/:id", { get: [stored.get], delete: [stored.remove] });
  api("/responses/:id/cancel", { post: [stored.cancel] });
  api("/responses/:id/input_items", { get: [stored.inputItems] });
  api("/tokenize", { post: [json, tokenize] });
  api("/detokenize", { post: [json, detokenize] });
  api("/ws", { get: [askForHandshake] });
}

function askForHandshake(_req: Request, res: Response): void {
  res.setHeader("upgrade", "websocket");
  res.setHeader("connection", "upgrade");
  throw new LorikeetError("upgrade_required", "This path speaks WebSocket: send its handshake.");
}

/** Registers handlers for a path or its spellings; any other method gets a 405 that lists the allowed ones. */
function route(app: Express, path: string | string[], handlers: Handlers): void {
  const at = app.route(path);
  const allowed: string[] = [];
  for (const method of ["get", "post", "put", "patch", "delete"] as const) {
    const chain = handlers[method];
    if (!chain) continue;
    at[method](...chain);
    allowed.push(method.toUpperCase());
  }
  at.all((req, res) => {
    res.setHeader("allow", allowed.join(", "));
    throw new LorikeetError("method_not_allowed", `${req.method} is not allowed here; allowed: ${allowed.join(", ")}.`);
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
    // Someone opened the banner's address in a browser, and the server has keys.
    const isForReader = req.path === "/" && fault.code === "invalid_api_key" && prefersPage(req);
    if (isForReader) sendFaultPage(res, fault, options.privateFolders);
    else sendFault(res, fault, options.privateFolders, context.errorForm);
  };
}
