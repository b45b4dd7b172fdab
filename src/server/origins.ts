/**
 * Which web pages may use the server. A browser lends every page that a person opens its way to servers that only this person
 * reaches, so a page of a stranger must not pass for its reader. Programs send no `Origin` and are not concerned.
 */
import type { IncomingMessage } from "node:http";
import { isIP } from "node:net";
import { hostname } from "node:os";
import type { Request, Response } from "express";
import { LorikeetError } from "../base/errors.js";
import { isLoopback } from "./loopback.js";

/** What a page may read of an answer's headers. */
const exposed = "x-request-id, x-adapter, x-adapter-digest, x-queue-ms, x-time-to-first-token-ms, retry-after";
const methods = "GET, POST, PUT, PATCH, DELETE";
const preflightSeconds = 600;

export class Origins {
  readonly #allowed: ReadonlySet<string>;
  readonly #hosts: ReadonlySet<string>;

  /** Origins as browsers spell them, beside those of this machine and the server's own; `*` stands for all. */
  constructor(allowed: readonly string[]) {
    this.#allowed = new Set(allowed);
    this.#hosts = new Set([hostname().toLowerCase(), ...allowed.map(hostnameOf)]);
  }

  /** Throws LorikeetError `origin_not_allowed` for a request that a stranger's page has made. */
  check(req: IncomingMessage): void {
    if (this.#allowed.has("*")) return;
    const { origin, host } = req.headers;
    if (
      host !== undefined &&
      isLoopback(req.socket.localAddress ?? "") &&
      !this.#isOurName(hostnameOf(`http://${host}`))
    ) {
      throw refusal(`The host ${JSON.stringify(host.slice(0, 200))} is no name of this machine`, host);
    }
    if (origin === undefined || this.#allowed.has(origin) || isLocal(hostnameOf(origin))) return;
    // A page that the server's own address serves: its name was looked at above.
    if (hostOf(origin) === host) return;
    throw refusal(`Pages of ${JSON.stringify(origin.slice(0, 200))} may not use this server`, origin);
  }

  /** Whoever reaches a loopback address by another name may have been led there by a page (DNS rebinding). */
  #isOurName(name: string): boolean {
    return isLocal(name) || isIP(bare(name)) !== 0 || this.#hosts.has(name);
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

function refusal(clause: string, found: string): LorikeetError {
  const message = `${clause}; its operator allows origins, and their hosts, with \`--allowed-origins\`.`;
  return new LorikeetError("origin_not_allowed", message, { found });
}

/** `host:port` of an origin; the port only where it is not the scheme's own. */
function hostOf(origin: string): string | null {
  return URL.canParse(origin) ? new URL(origin).host : null;
}

/** The name of a URL's host, without its port; empty where there is none. */
function hostnameOf(url: string): string {
  return URL.canParse(url) ? new URL(url).hostname : "";
}

const isLocal = (name: string): boolean => isLoopback(bare(name));

/** An IPv6 address without its brackets. */
const bare = (name: string): string => name.replace(/^\[|\]$/g, "");
