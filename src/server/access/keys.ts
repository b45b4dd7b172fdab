/**
 * The server's API keys. A request carries its key as `Authorization: Bearer` or `x-api-key`. A browser cannot set headers on a
 * WebSocket, so there the key is a subprotocol, `lorikeet.bearer.<key>`. Only digests are kept, so a memory dump shows no key.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { LorikeetError } from "../../base/errors.js";

const everyone = "everyone";
const subprotocolPrefix = "lorikeet.bearer.";

export class ApiKeys {
  readonly #digests: readonly Buffer[];

  /** Without keys, every request passes. */
  constructor(keys: readonly string[]) {
    this.#digests = keys.map(digestOf);
  }

  /** Throws LorikeetError `invalid_api_key` for a request without one of the keys. Returns the name of the key's owner; without keys, all share one. */
  check(headers: IncomingHttpHeaders): string {
    if (this.#digests.length === 0) return everyone;
    const offered = offeredKeys(headers);
    // Compares every candidate, so that timing does not reveal which header or key was nearly right.
    const [known] = offered.filter((key) => this.#has(key));
    if (known !== undefined) return digestOf(known).toString("hex");
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

/** Every header value that may be a key. */
function offeredKeys(headers: IncomingHttpHeaders): string[] {
  const bearer = /^bearer +(\S+) *$/i.exec(headers.authorization ?? "")?.[1];
  const plain = headers["x-api-key"];
  return [bearer, typeof plain === "string" ? plain.trim() : undefined, ...fromSubprotocols(headers)].filter(
    (key): key is string => key !== undefined && key !== "",
  );
}

/** Subprotocols allow fewer characters than keys do, so a key comes as it is or in base64url. */
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
