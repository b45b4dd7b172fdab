/**
 * Which web pages may use the server. A browser lends every page that a person opens its way to servers that only this person
 * reaches, so a page of a stranger must not pass for its reader. Programs send no `Origin` and are not concerned.
 */
import type { IncomingMessage } from "node:http";
import { isIP } from "node:net";
import { hostname } from "node:os";
import type { NextFunction, Request, Response } from "express";
import { LorikeetError } from "../base/errors.js";

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

/** Middleware: refuses strangers' pages, answers preflights, and lets allowed pages read what they asked for. */
export function originMiddleware(origins: Origins) {
  return (req: Request, res: Response, next: NextFunction): void => {
    origins.check(req);
    const { origin } = req.headers;
    if (origin === undefined) {
      next();
      return;
    }
    res.setHeader("access-control-allow-origin", origin);
    res.setHeader("vary", "Origin");
    res.setHeader("access-control-expose-headers", exposed);
    if (req.method !== "OPTIONS" || req.headers["access-control-request-method"] === undefined) {
      next();
      return;
    }
    const asked = req.headers["access-control-request-headers"];
    res.setHeader("access-control-allow-methods", methods);
    if (asked !== undefined) res.setHeader("access-control-allow-headers", asked);
    res.setHeader("access-control-max-age", String(preflightSeconds));
    res.status(204).end();
  };
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

const isLocal = (name: string): boolean =>
  name === "localhost" || name.endsWith(".localhost") || isLoopback(bare(name));

const isLoopback = (address: string): boolean =>
  address === "::1" || (isIP(address) !== 0 && /^(::ffff:)?127\./.test(address));

/** An IPv6 address without its brackets. */
const bare = (name: string): string => name.replace(/^\[|\]$/g, "");
