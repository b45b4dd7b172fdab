/** Decides who may use the server. HTTP requests and WebSocket handshakes pass the same check: their source first, then their API key. */
import type { IncomingMessage } from "node:http";
import type { NextFunction, Request, Response } from "express";
import { assert, type ErrorCode, LorikeetError } from "../../base/errors.js";
import { asFault } from "../../gateway/fault.js";
import { ApiKeys } from "./keys.js";
import { type Origins, setPageHeaders } from "./origins.js";

export interface AccessParts {
  readonly origins: Origins;
  /** Without keys, the server is open to everyone. */
  readonly keys: readonly string[];
  /** Called for each refused request. */
  readonly onRefused: (code: ErrorCode) => void;
}

export class Access {
  readonly #origins: Origins;
  readonly #keys: ApiKeys;
  readonly #onRefused: (code: ErrorCode) => void;
  readonly #owners = new WeakMap<IncomingMessage, string>();

  constructor({ origins, keys, onRefused }: AccessParts) {
    this.#origins = origins;
    this.#keys = new ApiKeys(keys);
    this.#onRefused = onRefused;
  }

  /** Throws a LorikeetError if the request's host or page may not use this server. The only check for probes. */
  checkSource(req: IncomingMessage): void {
    this.#count(() => {
      requireOneHost(req);
      this.#origins.check(req);
    });
  }

  /** Throws LorikeetError `invalid_api_key`. */
  checkKey(req: IncomingMessage): void {
    this.#count(() => this.#owners.set(req, this.#keys.check(req.headers)));
  }

  /** Who sent a request whose key was checked: what it stores is that owner's. */
  ownerOf(req: IncomingMessage): string {
    const owner = this.#owners.get(req);
    assert(owner !== undefined, "a request's key is checked first");
    return owner;
  }

  /** Runs both checks, for a WebSocket handshake. */
  check(req: IncomingMessage): void {
    this.checkSource(req);
    this.checkKey(req);
  }

  #count(check: () => unknown): void {
    try {
      check();
    } catch (error) {
      const fault = asFault(error);
      this.#onRefused(fault.code);
      throw fault;
    }
  }
}

/** With two Host headers, a proxy and this server could act on different ones. HTTP/1.0 allows none. */
function requireOneHost({ rawHeaders, httpVersion }: IncomingMessage): void {
  const hosts = rawHeaders.filter((name, i) => i % 2 === 0 && name.toLowerCase() === "host");
  if (hosts.length === 1 || (hosts.length === 0 && httpVersion === "1.0")) return;
  throw new LorikeetError("invalid_value", `A request must have one Host header, not ${hosts.length}.`, {
    param: "Host",
  });
}

/** Middleware: refuses pages of other origins, answers preflights (which carry no key), and sets CORS headers for allowed pages. */
export function sourceMiddleware(access: Access) {
  return (req: Request, res: Response, next: NextFunction): void => {
    access.checkSource(req);
    if (setPageHeaders(req, res)) res.status(204).end();
    else next();
  };
}

/** Middleware: refuses requests without a valid key. */
export function keyMiddleware(access: Access) {
  return (req: Request, _res: Response, next: NextFunction): void => {
    access.checkKey(req);
    next();
  };
}
