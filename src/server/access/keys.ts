/**
 * The API keys of the server. A request carries its key as `Authorization: Bearer`, as `x-api-key`, or, from a browser that opens a
 * WebSocket and cannot set headers, as the subprotocol `lorikeet.bearer.<key>`. Keeps digests only: a key is in no dump of this object.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { LorikeetError } from "../../base/errors.js";

const subprotocolPrefix = "lorikeet.bearer.";

export class ApiKeys {
  readonly #digests: readonly Buffer[];

  /** Without any key everybody may use the server. */
  constructor(keys: readonly string[]) {
    this.#digests = keys.map(digestOf);
  }

  /** Throws LorikeetError `invalid_api_key` for a request without one of the keys. */
  check(headers: IncomingHttpHeaders): void {
    if (this.#digests.length === 0) return;
    const offered = offeredKeys(headers);
    // Every candidate is compared: how long it takes does not tell which header or which key was nearly right.
    const known = offered.filter((key) => this.#has(key));
    if (known.length > 0) return;
    const clause = offered.length === 0 ? "This server needs an API key" : "The API key is not one of this server's";
    throw new LorikeetError(
      "invalid_api_key",
      `${clause}; send it as \`Authorization: Bearer <key>\` or \`x-api-key: <key>\`.`,
    );
  }

  #has(key: string): boolean {
    const digest = digestOf(key);
    return this.#digests.filter((own) => timingSafeEqual(own, digest)).length > 0;
  }
}

/** What may be a key among a request's headers. */
function offeredKeys(headers: IncomingHttpHeaders): string[] {
  const bearer = /^bearer +(\S+) *$/i.exec(headers.authorization ?? "")?.[1];
  const plain = headers["x-api-key"];
  return [bearer, typeof plain === "string" ? plain.trim() : undefined, ...fromSubprotocols(headers)].filter(
    (key): key is string => key !== undefined && key !== "",
  );
}

/** A subprotocol may not have every character of a key, so a key comes as it is or in base64url. */
function fromSubprotocols(headers: IncomingHttpHeaders): string[] {
  const offered = headers["sec-websocket-protocol"]?.split(",").map((name) => name.trim()) ?? [];
  const carrier = offered.find((name) => name.startsWith(subprotocolPrefix));
  if (carrier === undefined) return [];
  const text = carrier.slice(subprotocolPrefix.length);
  return [text, Buffer.from(text, "base64url").toString("utf8")];
}

function digestOf(key: string): Buffer {
  return createHash("sha256").update(key).digest();
}
