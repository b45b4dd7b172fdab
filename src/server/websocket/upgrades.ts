/**
 * What happens to a connection that asks for another protocol. WebSocket is the only one that is spoken; a request that offers
 * another (`Upgrade: h2c`, as Java's client and `curl --http2` do) is an ordinary one. Knows no message.
 */

import { type Server as HttpServer, type IncomingMessage, STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";
import type { LorikeetError } from "../../base/errors.js";
import { at } from "../../base/list.js";
import { openAiError } from "../../gateway/openai/errors.js";
import { faultHeaders, publicFault } from "../fault.js";

/** Whether this is the beginning of a WebSocket's handshake. */
export function asksForWebSocket({ method, headers }: IncomingMessage): boolean {
  return method === "GET" && headers.upgrade?.trim().toLowerCase() === "websocket";
}

/**
 * Reads a request again as one that asks for no other protocol: Node has let go of its connection, so its head is put back
 * before what follows it. For a connection on which nothing else runs.
 */
export function readAsPlain(http: HttpServer, req: IncomingMessage, socket: Duplex, rest: Buffer): void {
  socket.removeAllListeners("timeout"); // those of the connection's first reading
  socket.unshift(Buffer.concat([plainHead(req), rest]));
  http.emit("connection", socket);
}

/** The head without what offers another protocol. */
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

/** Answers a connection that express does not have, and closes it: at the latest after `lingerTimeoutMs`, whatever the client does. */
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
  socket.resume(); // what is still on its way does not matter, but its end does
  const timer = setTimeout(() => socket.destroy(), lingerTimeoutMs);
  socket.once("close", () => clearTimeout(timer));
}
