/**
 * Which web pages may use the server. A browser lends every page that a person opens its way to servers that only this person
 * reaches, so a page of a stranger must not pass for its reader. Programs send no `Origin` and are not concerned.
 */
import type { IncomingMessage } from "node:http";
import type { Request, Response } from "express";
import { LorikeetError } from "../../base/errors.js";
import { bare, Hosts, hostnameOf } from "./hosts.js";
import { isLoopback } from "./loopback.js";

/** What a page may read of an answer's headers. */
const exposed = "x-request-id, x-adapter, x-adapter-digest, x-queue-ms, x-time-to-first-token-ms, retry-after";
const methods = "GET, POST, PUT, PATCH, DELETE";
const preflightSeconds = 600;

export class Origins {
  readonly #allowed: ReadonlySet<string>;
  readonly #hosts: Hosts;

  /** Origins as browsers spell them, beside those of this machine and the server's own; `*` stands for all. */
  constructor(allowed: readonly string[], allowedHosts: readonly string[] = []) {
    this.#allowed = new Set(allowed);
    this.#hosts = new Hosts([...allowedHosts, ...allowed.map(hostnameOf)]);
  }

  /** Throws LorikeetError `host_not_allowed` or `origin_not_allowed` for a request that a stranger's page may have made. */
  check(req: IncomingMessage): void {
    if (this.#allowed.has("*")) return;
    const { origin, host } = req.headers;
    // Whoever reaches this server by a name that is not its own may have been led there by a page (DNS rebinding).
    if (host !== undefined) this.#hosts.check(host);
    if (origin === undefined || this.#allowed.has(origin) || isLoopback(bare(hostnameOf(origin)))) return;
    // A page that the server's own address serves: its name was looked at above.
    if (hostOf(origin) === host) return;
    const message = `Pages of ${JSON.stringify(origin.slice(0, 200))} may not use this server; its operator allows origins with \`--allowed-origins\`.`;
    throw new LorikeetError("origin_not_allowed", message, { found: origin });
  }
}

/** Lets an allowed page read the answer. True for a preflight, whose answer is then complete. */
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

/** `host:port` of an origin; the port only where it is not the scheme's own. */
function hostOf(origin: string): string | null {
  return URL.canParse(origin) ? new URL(origin).host : null;
}
