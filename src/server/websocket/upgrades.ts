/**
 * Handles requests that offer to switch protocols. Only WebSocket is accepted; a request that offers another protocol
 * (`Upgrade: h2c`, as from Java's client or `curl --http2`) runs as plain HTTP. Knows nothing of messages.
 */

import { type Server as HttpServer, type IncomingMessage, STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";
import type { LorikeetError } from "../../base/errors.js";
import { at } from "../../base/list.js";
import { openAiError } from "../../gateway/openai/errors.js";
import { faultHeaders, publicFault } from "../fault.js";

/** Whether a request starts a WebSocket handshake. */
export function asksForWebSocket({ method, headers }: IncomingMessage): boolean {
  return method === "GET" && headers.upgrade?.trim().toLowerCase() === "websocket";
}

/**
 * Replays a request without its upgrade offer. Node has detached the connection, so the head is pushed back in front of the
 * bytes that follow it. Call this only when nothing else runs on the connection.
 */
export function readAsPlain(http: HttpServer, req: IncomingMessage, socket: Duplex, rest: Buffer): void {
  socket.removeAllListeners("timeout"); // left from the first parse of this connection
  socket.unshift(Buffer.concat([plainHead(req), rest]));
  http.emit("connection", socket);
}

/** The request head without its upgrade offer. */
function plainHead({ method, url, httpVersion, rawHeaders }: IncomingMessage): Buffer {
  const lines = [`${method} ${url} HTTP/${httpVersion}`];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const [name, value] = [at(rawHeaders, i), at(rawHeaders, i + 1)];
    const kept = name.toLowerCase() === "connection" ? withoutOffers(value) : value;
    if (!isOffer(name) && (kept !== "" || value === "")) lines.push(`${name}: ${kept}`);
  }
  return Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1");
}

const isOffer = (name: string): boolean => ["upgrade", "http2-settings"].includes(name.trim().toLowerCase());

const withoutOffers = (value: string): string =>
  value
    .split(",")
    .filter((option) => !isOffer(option))
    .join(",")
    .trim();

/** Sends an error on a connection outside Express and closes it, after `lingerTimeoutMs` at the latest. */
export function refuse(
  socket: Duplex,
  fault: LorikeetError,
  lingerTimeoutMs: number,
  headers: Readonly<Record<string, string>> = {},
): void {
  const body = JSON.stringify(openAiError(publicFault(fault, [])));
  const lines = [
    `HTTP/1.1 ${fault.status} ${STATUS_CODES[fault.status] ?? "Error"}`,
    "content-type: application/json; charset=utf-8",
    `content-length: ${Buffer.byteLength(body)}`,
    ...Object.entries({ ...headers, ...faultHeaders(fault) }).map(([name, value]) => `${name}: ${value}`),
    "connection: close",
  ];
  socket.on("error", () => {});
  socket.end(`${lines.join("\r\n")}\r\n\r\n${body}`);
  socket.resume(); // discards the remaining bytes, but notices their end
  const timer = setTimeout(() => socket.destroy(), lingerTimeoutMs);
  socket.once("close", () => clearTimeout(timer));
}
