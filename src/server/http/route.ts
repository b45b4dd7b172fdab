/** Registers handlers by path and method. */

import type { Express, RequestHandler } from "express";
import { LorikeetError } from "../../base/errors.js";

const methods = ["get", "post", "put", "patch", "delete"] as const;

/** A method that is absent is not allowed. */
export type Handlers = Partial<Record<(typeof methods)[number], RequestHandler[]>>;

/**
 * Registers handlers for a path or its spellings; any other method gets a 405 that lists the allowed ones. `first` runs before them all and
 * may leave the request to a later path, with `next("route")`.
 */
export function route(app: Express, path: string | string[], handlers: Handlers, first?: RequestHandler): void {
  const at = app.route(path);
  if (first) at.all(first);
  const allowed: string[] = [];
  for (const method of methods) {
    const chain = handlers[method];
    if (!chain) continue;
    at[method](...chain);
    allowed.push(method.toUpperCase());
  }
  at.all((req, res) => {
    res.setHeader("allow", allowed.join(", "));
    throw new LorikeetError("method_not_allowed", `${req.method} is not allowed here; allowed: ${allowed.join(", ")}.`);
  });
}
