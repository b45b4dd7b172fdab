/**
 * The response at `/`: the page for browsers, facts and links for programs. The page's files need no key, because the page itself asks for
 * one; they hold no data of the server.
 */
import type { NextFunction, Request, Response } from "express";
import { LorikeetError } from "../../base/errors.js";
import type { Base, Bases } from "../../gateway/bases.js";
import type { FineTuning } from "../../gateway/fine-tuning/fine-tuning.js";
import { encodings, type PageFile, type PageFiles } from "./page-files.js";

const links = {
  models: "/v1/models",
  adapters: "/v1/adapters",
  health: "/health",
  ready: "/ready",
  metrics: "/metrics",
} as const;

/** No other host, nothing inline, no frame around it, and no way to turn a string into markup or code. */
const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' blob:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join("; ");

const aYear = 365 * 24 * 60 * 60;

/**
 * `GET /` for programs. `instance` identifies the process: it changes with each start. `bases` is null while they load. `permissions`: what a
 * key of this server may do besides asking models, so that a client need not offer what would be refused; `trains` of a base: the tasks of its jobs.
 */
export function factsHandler(instance: string, bases: Bases | null, fineTuning: FineTuning | null) {
  const served = bases?.all.map((base) => ({ ...factsOf(base), trains: fineTuning?.tasksOf(base.name) ?? [] })) ?? null;
  const permissions = { adapters: bases?.adapters.takesUploads ?? false, fine_tuning: fineTuning !== null };
  return (_req: Request, res: Response): void => {
    res.vary("Accept");
    res.json({
      ...{ object: "server", name: "lorikeet", instance, bases: served, permissions },
      ...{ api: "/v1", websocket: "/v1/ws", links },
    });
  };
}

/** `task`: what a base was made for, by Hugging Face's name; null for a decoder, which has several `tasks`. */
function factsOf({ name, text, task, models }: Base) {
  const { tasks } = models.holder;
  return { name, text: text !== null, task: text ? text.sourceTask : (task?.parts.task ?? null), tasks };
}

export function pageHandlers({ index, assets }: PageFiles) {
  return {
    /** `GET /` for a browser; passes anything else on. */
    index: (req: Request, res: Response, next: NextFunction): void => {
      if (req.path !== "/" || (req.method !== "GET" && req.method !== "HEAD") || !prefersPage(req)) {
        next();
        return;
      }
      res.vary("Accept");
      res.setHeader("content-security-policy", policy);
      res.setHeader("cross-origin-opener-policy", "same-origin");
      res.setHeader("referrer-policy", "no-referrer");
      res.setHeader("cache-control", "no-cache");
      sendFile(req, res, index);
    },
    asset: (req: Request, res: Response): void => {
      const name = String(req.params.name);
      const file = assets.get(name);
      if (!file) throw new LorikeetError("route_not_found", "The page has no such file; reload the page.");
      res.setHeader("cache-control", `public, max-age=${aYear}, immutable`);
      sendFile(req, res, file);
    },
  };
}

/** Whether the request comes from a browser rather than a program that accepts anything. */
function prefersPage(req: Request): boolean {
  return req.accepts(["json", "html"]) === "html";
}

function sendFile(req: Request, res: Response, { contentType, bodies }: PageFile): void {
  const accepted = req.acceptsEncodings();
  const encoding = encodings.find((each) => accepted.includes(each)) ?? "identity";
  res.vary("Accept-Encoding");
  res.setHeader("content-type", contentType);
  res.setHeader("x-content-type-options", "nosniff");
  if (encoding !== "identity") res.setHeader("content-encoding", encoding);
  res.send(bodies[encoding]);
}
