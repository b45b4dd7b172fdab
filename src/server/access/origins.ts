/**
 * Decides which web pages may use the server. Any page that someone opens can send requests to servers that only their machine
 * reaches, so pages of unknown origins are refused. Programs send no `Origin` and are not affected.
 */
import type { IncomingMessage } from "node:http";
import type { Request, Response } from "express";
import { LorikeetError } from "../../base/errors.js";
import { bare, Hosts, hostnameOf } from "./hosts.js";
import { isLoopback } from "./loopback.js";

/** Response headers that a page may read. */
const exposed =
  "x-request-id, x-adapter, x-adapter-digest, x-queue-ms, x-time-to-first-token-ms, retry-after, inference-header-content-length";
const methods = "GET, POST, PUT, PATCH, DELETE";
const preflightSeconds = 600;

export class Origins {
  readonly #allowed: ReadonlySet<string>;
  readonly #hosts: Hosts;

  /** Origins to allow, as browsers spell them, besides the server's own and those of this machine; `*` allows all. */
  constructor(allowed: readonly string[], allowedHosts: readonly string[] = []) {
    this.#allowed = new Set(allowed);
    this.#hosts = new Hosts([...allowedHosts, ...allowed.map(hostnameOf)]);
  }

  /** Throws LorikeetError `host_not_allowed` or `origin_not_allowed` for a request that may come from a page of an unknown origin. */
  check(req: IncomingMessage): void {
    if (this.#allowed.has("*")) return;
    const { origin, host } = req.headers;
    // A request under an unknown host name may come from a page that rebinds its own name to this address.
    if (host !== undefined) this.#hosts.check(host);
    if (origin === undefined || this.#allowed.has(origin) || isLoopback(bare(hostnameOf(origin)))) return;
    // A page that this server itself serves. Its host was checked above.
    if (hostOf(origin) === host) return;
    const message = `Pages of ${JSON.stringify(origin.slice(0, 200))} may not use this server; its operator allows origins with \`--allowed-origins\`.`;
    throw new LorikeetError("origin_not_allowed", message, { found: origin });
  }
}

/** Sets CORS headers so that an allowed page can read the response. True for a preflight, which needs no more than these. */
export function setPageHeaders(req: Request, res: Response): boolean {
  const { origin } = req.headers;
  if (origin === undefined) return false;
  res.setHeader("access-control-allow-origin", origin);
  res.setHeader("vary", "Origin");
  res.setHeader("access-control-expose-headers", exposed);
  if (req.method !== "OPTIONS" || req.headers["access-control-request-method"] === undefined) return false;
  const asked = req.headers["access-control-request-headers"];
  res.setHeader("access-control-allow-methods", methods);
  if (asked !== undefined) res.setHeader("access-control-allow-headers", asked);
  res.setHeader("access-control-max-age", String(preflightSeconds));
  return true;
}

/** `host:port` of an origin, without the scheme's default port. */
function hostOf(origin: string): string | null {
  return URL.canParse(origin) ? new URL(origin).host : null;
}
