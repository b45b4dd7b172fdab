/** The WebSocket endpoint: handshakes, subprotocols and the open sockets. Knows nothing of messages. */
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { WebSocketServer } from "ws";
import { assert, LorikeetError } from "../../base/errors.js";
import { asFault } from "../../gateway/fault.js";
import type { Access } from "../access/access.js";
import { requestId } from "../http/context.js";
import type { Metrics } from "../metrics/metrics.js";
import type { SocketDialect } from "./dialect.js";
import { type SessionDeps, SocketSession } from "./session.js";
import { refuse } from "./upgrades.js";

/** The dialect of a path, for the owner of the key that opens it. */
export type Dialects = Readonly<Record<string, (owner: string) => SocketDialect>>;

/** The only subprotocol that is selected. Browsers offer their key as another one, which is neither echoed nor logged. */
const protocol = "lorikeet";
/** The protocol versions that `ws` supports. */
const spokenVersions = "13, 8";

export class Sockets {
  readonly #deps: SessionDeps;
  readonly #dialects: Dialects;
  readonly #access: Access;
  readonly #metrics: Metrics;
  readonly #server: WebSocketServer;
  readonly #sessions = new Set<SocketSession>();
  readonly #ids = new WeakMap<IncomingMessage, string>();

  /** `dialects` by path, which works without its `/v1` too. */
  constructor(deps: SessionDeps, dialects: Dialects, access: Access, metrics: Metrics) {
    this.#deps = deps;
    this.#dialects = dialects;
    this.#access = access;
    this.#metrics = metrics;
    this.#server = new WebSocketServer({
      noServer: true,
      maxPayload: deps.options.maxFrameBytes,
      perMessageDeflate: false,
      allowSynchronousEvents: false, // one message per turn: thousands may arrive in one read
      handleProtocols: (offered) => (offered.has(protocol) ? protocol : false),
    });
    this.#server.on("headers", (headers, req) => headers.push(`x-request-id: ${this.#idOf(req)}`));
    this.#server.on("wsClientError", ({ message }, socket, req) => {
      const fault = new LorikeetError("invalid_value", `The WebSocket handshake is invalid: ${message}.`);
      this.#refuse(req, socket, fault, { "sec-websocket-version": spokenVersions });
    });
    deps.gate.onDrain(() => {
      for (const session of this.#sessions) session.drain();
    });
  }

  get open(): number {
    return this.#sessions.size;
  }

  /** Terminates every open socket. */
  close(): void {
    for (const client of this.#server.clients) client.terminate();
    this.#server.close();
  }

  /** Handles Node's `upgrade` event. */
  upgrade(req: IncomingMessage, socket: Duplex, head: Buffer): void {
    const id = requestId(req.headers);
    socket.on("error", () => socket.destroy());
    this.#ids.set(req, id);
    const fault = this.#refusal(req);
    const dialectFor = this.#dialectAt(req);
    if (fault || !dialectFor) {
      this.#refuse(req, socket, fault ?? this.#noRoute());
      return;
    }
    this.#server.handleUpgrade(req, socket, head, (ws) => {
      const session = new SocketSession(ws, id, dialectFor(this.#access.ownerOf(req)), this.#deps);
      this.#sessions.add(session);
      this.#metrics.sockets.inc();
      socket.once("close", () => session.leave());
      ws.on("close", () => {
        this.#sessions.delete(session);
        this.#metrics.sockets.dec();
      });
    });
  }

  #idOf(req: IncomingMessage): string {
    const id = this.#ids.get(req);
    assert(id !== undefined, "every upgrade has an id before its response");
    return id;
  }

  #refuse(req: IncomingMessage, socket: Duplex, fault: LorikeetError, headers: Record<string, string> = {}): void {
    const { logger, options } = this.#deps;
    const { status, code } = fault;
    const id = this.#idOf(req);
    const remote = req.socket.remoteAddress;
    logger.info({ requestId: id, method: "WS", path: pathOf(req), status, code, remote }, "request");
    refuse(socket, fault, options.lingerTimeoutMs, { "x-request-id": id, ...headers });
  }

  #dialectAt(req: IncomingMessage): Dialects[string] | undefined {
    const path = pathOf(req);
    return this.#dialects[path.startsWith("/v1/") ? path : `/v1${path}`];
  }

  #noRoute(): LorikeetError {
    const paths = Object.keys(this.#dialects).join(" and ");
    return new LorikeetError("route_not_found", `WebSockets are served at ${paths} only.`);
  }

  #refusal(req: IncomingMessage): LorikeetError | null {
    const { gate, options, connections } = this.#deps;
    const refusal = connections.refusalOf(req.socket);
    if (refusal) return refusal;
    try {
      this.#access.check(req);
    } catch (error) {
      return asFault(error);
    }
    if (!this.#dialectAt(req)) return this.#noRoute();
    if (gate.refusal) return gate.refusal;
    if (this.#sessions.size < options.maxSockets) return null;
    return new LorikeetError("queue_full", `At most ${options.maxSockets} WebSockets may be open.`, {
      allowed: options.maxSockets,
    });
  }
}

/** Without its query, which may hold a secret. */
const pathOf = (req: IncomingMessage): string => req.url?.split("?", 1)[0] ?? "";
