/** The server: a listener for HTTP and WebSocket in front of a gateway, with drain and shutdown. */
import { randomUUID } from "node:crypto";
import type { AddressInfo } from "node:net";
import { assert, type LorikeetError } from "../base/errors.js";
import type { Logger } from "../base/log.js";
import type { Bases } from "../gateway/bases.js";
import type { FineTuning } from "../gateway/fine-tuning/fine-tuning.js";
import { Responses, type ResponsesOptions } from "../gateway/responses/responses.js";
import { memoryStore } from "../records/memory-store.js";
import type { RecordStore } from "../records/store.js";
import { Access } from "./access/access.js";
import { ClientAddresses, type ClientAddressOf } from "./access/client-address.js";
import { Connections } from "./access/connections.js";
import { Origins } from "./access/origins.js";
import { Gate } from "./drain.js";
import { publicFault } from "./fault.js";
import { createApp, createWaitingApp } from "./http/app.js";
import { readPageFiles } from "./http/page-files.js";
import { pathTarget } from "./http/request-target.js";
import { RequestTurns } from "./http/turns.js";
import { addressOf, createListener, listen } from "./listener.js";
import { Metrics } from "./metrics/metrics.js";
import { type ServerOptions, serverDefaults } from "./options.js";
import { inferRequestsOf } from "./websocket/infer-requests.js";
import { lorikeetDialect } from "./websocket/lorikeet-dialect.js";
import { responsesDialect } from "./websocket/responses-dialect.js";
import { type Dialects, Sockets } from "./websocket/sockets.js";
import { textRequestsOf } from "./websocket/text-requests.js";

export interface ServerParts {
  /** Without them the server is alive but not ready until `open` provides them. */
  readonly bases?: Bases;
  /** Where responses are stored, if not in memory. */
  readonly records?: RecordStore;
  /** Files and training jobs; without it their routes say that they are off. */
  readonly fineTuning?: FineTuning;
  readonly logger: Logger;
  readonly options?: Partial<ServerOptions & ResponsesOptions>;
  /** Not an option: options may be printed. Without keys, anyone may use the server. */
  readonly apiKeys?: readonly string[];
  /** The metrics whose observers the engines use; without them the engines' steps are not counted. */
  readonly metrics?: Metrics;
}

export interface LorikeetServer {
  /** Resolves with its address; port 0 picks a free one. */
  listen(host: string, port: number): Promise<AddressInfo>;
  /** Starts serving requests. Call it once, on a server created without bases. */
  open(bases: Bases, records?: RecordStore, fineTuning?: FineTuning | null): void;
  /** null unless it is listening. */
  address(): AddressInfo | null;
  /** Number of open connections. */
  readonly connections: number;
  /**
   * Stops being ready and refuses new requests with `reason`, by default `draining`. Resolves when the running ones have finished, or
   * were ended after `graceMs`, and their answers are sent.
   */
  drain(graceMs: number, reason?: LorikeetError): Promise<void>;
  /** Stops listening and closes remaining connections. */
  close(): Promise<void>;
}

/** What the server needs to serve requests, available once the model is loaded. */
interface Service {
  readonly bases: Bases;
  readonly sockets: Sockets;
  /** Of models that generate text; null without any. */
  readonly responses: Responses | null;
}

/** Time to send answers after their last token. */
const flushMs = 2_000;

export function createServer(parts: ServerParts): LorikeetServer {
  const { logger } = parts;
  const options = { ...serverDefaults, ...parts.options };
  const metrics = parts.metrics ?? new Metrics({ ...options, namesBases: (parts.bases?.all.length ?? 1) > 1 });
  const gate = new Gate(false);
  const access = new Access({
    origins: new Origins(options.allowedOrigins, options.allowedHosts),
    keys: parts.apiKeys ?? [],
    onRefused: (code) => metrics.refused.inc({ code }),
  });
  const clients = new ClientAddresses(options.trustedProxies);
  const clientAddress: ClientAddressOf = (req) => clients.of(req);
  const connections = new Connections(options, clients, (limit) => metrics.limited.inc({ limit }));
  const page = options.noUi ? null : readPageFiles();
  const shared = { gate, access, clientAddress, connections, metrics, logger, options, page, instance: randomUUID() };
  let app = createWaitingApp(shared);
  let service: Service | null = null;
  const turns = new RequestTurns(
    (req, res) => {
      req.url = pathTarget(req.url ?? "/");
      app(req, res);
    },
    options,
    ({ remoteAddress: remote }) => {
      metrics.limited.inc({ limit: "max-pipelined" });
      logger.warn({ remote, allowed: options.maxPipelined }, "A connection with too many requests at once is closed");
    },
  );
  const http = createListener({ turns, sockets: () => service?.sockets ?? null, options, logger });
  connections.attach(http);
  const openResponses = (records: RecordStore): Responses => {
    const publish = (fault: LorikeetError) => publicFault(fault, options.privateFolders);
    const responses = new Responses({ records, options, logger, publish });
    metrics.bindResponses(responses);
    return responses;
  };
  const openSockets = (bases: Bases, responses: Responses | null): Sockets => {
    const onLimit = (limit: string): void => metrics.limited.inc({ limit });
    const deps = { bases, gate, logger, options, clientAddress, connections, onLimit };
    const requests = { ...textRequestsOf(bases), ...inferRequestsOf(bases) };
    const dialects: Dialects = { "/v1/ws": () => lorikeetDialect(requests) };
    const forResponses: Dialects = responses
      ? { "/v1/responses": (owner) => responsesDialect(bases, responses, owner) }
      : {};
    return new Sockets(deps, { ...dialects, ...forResponses }, access, metrics);
  };
  const open = (bases: Bases, records: RecordStore = memoryStore(), fineTuning: FineTuning | null = null): void => {
    assert(service === null, "a server is opened once");
    metrics.bind(bases);
    bases.observe(metrics.gatewayObserverOf(null));
    for (const { name, models } of bases.all) models.observe(metrics.gatewayObserverOf(name));
    const responses = bases.with("text").length > 0 ? openResponses(records) : null;
    if (fineTuning) metrics.bindFineTuning(fineTuning);
    app = createApp({ bases, responses, fineTuning, ...shared });
    service = { bases, responses, sockets: openSockets(bases, responses) };
    gate.open();
  };
  if (parts.bases) open(parts.bases, parts.records, parts.fineTuning);
  return {
    open,
    listen: (host, port) => listen(http, host, port),
    address: () => addressOf(http),
    get connections() {
      return connections.served + connections.reserved;
    },
    drain: async (graceMs, reason) => {
      const until = performance.now() + graceMs;
      gate.drain(reason);
      await service?.bases.drain(graceMs);
      await settled(
        () => turns.open + (service?.sockets.open ?? 0) + (service?.responses?.stats().background ?? 0) === 0,
        Math.max(flushMs, until - performance.now()),
      );
    },
    close: async () => {
      gate.drain();
      service?.sockets.close();
      let isClosed = false;
      http.close(() => {
        isClosed = true;
      });
      http.closeAllConnections();
      connections.destroy();
      await settled(() => isClosed, flushMs);
      metrics.close();
    },
  };
}

/** Waits until something holds, but not for longer than the bound. */
async function settled(holds: () => boolean, limitMs: number): Promise<void> {
  const until = performance.now() + limitMs;
  while (!holds() && performance.now() < until) await new Promise((resolve) => setTimeout(resolve, 10));
}
