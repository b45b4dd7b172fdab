/** Who may use the server: the one check that HTTP requests and WebSocket handshakes pass. First from where they come, then their key. */
import type { IncomingMessage } from "node:http";
import type { NextFunction, Request, Response } from "express";
import { type ErrorCode, LorikeetError } from "../../base/errors.js";
import { asFault } from "../../gateway/fault.js";
import { ApiKeys } from "./keys.js";
import { type Origins, setPageHeaders } from "./origins.js";

export interface AccessParts {
  readonly origins: Origins;
  /** Without any, everybody may use the server. */
  readonly keys: readonly string[];
  /** Told of every request that is refused. */
  readonly onRefused: (code: ErrorCode) => void;
}

export class Access {
  readonly #origins: Origins;
  readonly #keys: ApiKeys;
  readonly #onRefused: (code: ErrorCode) => void;

  constructor({ origins, keys, onRefused }: AccessParts) {
    this.#origins = origins;
    this.#keys = new ApiKeys(keys);
    this.#onRefused = onRefused;
  }

  /** Throws a LorikeetError for a host or a page that may not use this server. Probes pass no further check. */
  checkSource(req: IncomingMessage): void {
    this.#count(() => {
      requireOneHost(req);
      this.#origins.check(req);
    });
  }

  /** Throws LorikeetError `invalid_api_key`. */
  checkKey(req: IncomingMessage): void {
    this.#count(() => this.#keys.check(req.headers));
  }

  /** Both checks, for a handshake. */
  check(req: IncomingMessage): void {
    this.checkSource(req);
    this.checkKey(req);
  }

  #count(check: () => void): void {
    try {
      check();
    } catch (error) {
      const fault = asFault(error);
      this.#onRefused(fault.code);
      throw fault;
    }
  }
}

/** Two hosts would let whoever stands before this server and the server itself read different ones. HTTP/1.0 knows none. */
function requireOneHost({ rawHeaders, httpVersion }: IncomingMessage): void {
  const hosts = rawHeaders.filter((name, i) => i % 2 === 0 && name.toLowerCase() === "host");
  if (hosts.length === 1 || (hosts.length === 0 && httpVersion === "1.0")) return;
  throw new LorikeetError("invalid_value", `A request must have one Host header, not ${hosts.length}.`, {
    param: "Host",
  });
}

/** Middleware: refuses strangers' pages, answers preflights (which carry no key), and lets allowed pages read what they asked for. */
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
