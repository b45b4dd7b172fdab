/** The listener: requests and WebSockets are handed on; a connection that sends anything else gets one answer and is closed. */
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { LorikeetError } from "../base/errors.js";
import type { Logger } from "../base/log.js";
import { unreadable } from "./fault.js";
import type { RequestTurns } from "./http/turns.js";
import type { ServerOptions } from "./options.js";
import type { Sockets } from "./websocket/sockets.js";
import { asksForWebSocket, readAsPlain, refuse } from "./websocket/upgrades.js";

export interface ListenerParts {
  readonly turns: RequestTurns;
  /** null until the model is loaded: an offer of a WebSocket is then an ordinary request. */
  readonly sockets: () => Sockets | null;
  readonly options: ServerOptions;
  readonly logger: Logger;
}

/** How often connections are checked for headers that take too long. */
const checkMs = 5_000;

/** A server of HTTP that does not listen yet. */
export function createListener({ turns, sockets, options, logger }: ListenerParts): Server {
  // Node.js 24 asks first. Earlier versions emit "upgrade" for every offer; those that are not for a WebSocket are parsed again.
  const upgrading = {
    shouldUpgradeCallback: (req: IncomingMessage) => sockets() !== null && asksForWebSocket(req),
  };
  const http = createServer(
    {
      ...upgrading,
      maxHeaderSize: options.maxHeaderBytes,
      requireHostHeader: false, // we send our own error
      highWaterMark: options.streamBufferBytes,
      connectionsCheckingInterval: checkMs,
    },
    (req, res) => turns.take(req, res),
  );
  http.headersTimeout = options.headersTimeoutMs;
  http.keepAliveTimeout = options.keepAliveTimeoutMs;
  http.requestTimeout = 0; // An upload may take long: bodies have their own limits.
  // Node would refuse an unknown expectation with an empty answer; ignore it instead.
  http.on("checkExpectation", (req, res) => turns.take(req, res));
  http.on("upgrade", (req, socket: Socket, rest) => {
    const open = sockets();
    if (turns.isBusy(socket)) socket.destroy();
    else if (open && asksForWebSocket(req)) open.upgrade(req, socket, rest);
    else readAsPlain(http, req, socket, rest);
  });
  http.on("connect", (_req, socket: Socket) => {
    const fault = new LorikeetError("method_not_allowed", "CONNECT is not allowed: this is not a proxy.");
    if (turns.isBusy(socket)) socket.destroy();
    else refuse(socket, fault, options.lingerTimeoutMs);
  });
  const broken = new WeakSet<Socket>();
  http.on("clientError", (error: Error, socket: Socket) => {
    if (broken.has(socket)) return; // more of the same, until it is closed
    if (!socket.writable || (turns.isBusy(socket) && !turns.isReceiving(socket))) {
      socket.destroy();
      return;
    }
    broken.add(socket);
    refuse(socket, unreadable(error), options.lingerTimeoutMs);
  });
  http.on("error", (error) => http.listening && logger.error({ err: error }, "The listener failed"));
  return http;
}

/** Resolves with the address once the listener takes connections; port 0 picks a free one. Rejects with Node's error. */
export function listen(http: Server, host: string, port: number): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    http.once("error", reject);
    http.listen(port, host, () => {
      http.off("error", reject);
      const address = addressOf(http);
      if (address) resolve(address);
      else reject(new Error("The server listens on no port."));
    });
  });
}

/** null unless it listens on a port. */
export function addressOf(http: Server): AddressInfo | null {
  const address = http.address();
  return typeof address === "object" ? address : null;
}
