/** The response at `/`: a short page for people, links for programs. Shows no client data. */
import { createHash } from "node:crypto";
import type { Request, Response } from "express";
import type { LorikeetError } from "../../base/errors.js";
import { faultHeaders, publicFault } from "../fault.js";

const links = {
  models: "/v1/models",
  adapters: "/v1/adapters",
  health: "/health",
  ready: "/ready",
  metrics: "/metrics",
} as const;

const style =
  "body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1rem;color:#222;background:#fff}" +
  "code,pre{font-family:ui-monospace,monospace;background:#f3f3f3}code{padding:.1em .3em}pre{padding:.8em;overflow-x:auto}";

/** Allows only the inline style above, by its digest. */
const policy = [
  "default-src 'none'",
  `style-src 'sha256-${createHash("sha256").update(style).digest("base64")}'`,
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

/** Whether the request comes from a browser rather than a program that accepts anything. */
export function prefersPage(req: Request): boolean {
  return req.accepts(["json", "html"]) === "html";
}

/** `GET /`. */
export function sendRoot(req: Request, res: Response): void {
  res.vary("Accept");
  if (prefersPage(req)) sendPage(res, 200, about(req.headers.host ?? `localhost:${req.socket.localPort}`));
  else res.json({ object: "server", name: "lorikeet", api: "/v1", websocket: "/v1/ws", links });
}

/** An error as a page, for a person who opened `/`. */
export function sendFaultPage(res: Response, fault: LorikeetError, privateFolders: readonly string[]): void {
  res.vary("Accept");
  for (const [name, value] of Object.entries(faultHeaders(fault))) res.setHeader(name, value);
  const { message } = publicFault(fault, privateFolders);
  sendPage(res, fault.status, `<p><strong>${escapeHtml(message)}</strong></p>${introduction}`);
}

function sendPage(res: Response, status: number, body: string): void {
  res.status(status);
  res.setHeader("content-type", "text/html; charset=utf-8");
  res.setHeader("content-security-policy", policy);
  res.setHeader("x-content-type-options", "nosniff");
  res.setHeader("referrer-policy", "no-referrer");
  res.setHeader("cache-control", "no-cache");
  res.send(
    `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">` +
      `<title>Lorikeet</title><style>${style}</style></head><body><h1>Lorikeet</h1>${body}</body></html>`,
  );
}

const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (found) => `&#${found.charCodeAt(0)};`);

const introduction =
  "<p>This server runs one base model with many LoRA adapters behind OpenAI's HTTP API. " +
  "It is meant for programs: this page has no chat.</p>";

const linkTo = (path: string): string => `<a href="${path}"><code>${path}</code></a>`;

/** `host` is the name by which the reader reached the server. */
function about(host: string): string {
  const address = escapeHtml(`http://${host}`);
  return (
    `${introduction}<ul><li>${linkTo(links.models)}: the base model and its adapters</li>` +
    `<li>${linkTo(links.adapters)}: the adapters, with their size and whether they are loaded</li>` +
    `<li>${linkTo(links.health)}, ${linkTo(links.ready)}: whether it is alive and ready</li>` +
    `<li>${linkTo(links.metrics)}: metrics for Prometheus</li></ul>` +
    "<p>Ask the base model. To ask an adapter, set <code>model</code> to its name:</p>" +
    `<pre>curl -sS ${address}/v1/completions \\\n` +
    `  -H 'content-type: application/json' \\\n` +
    `  -d '{"prompt": "It was", "max_tokens": 20}'</pre>` +
    `<p>Any OpenAI client works with <code>${address}/v1</code> as its base URL. See also the README and the folder ` +
    "<code>docs</code> of the package.</p>"
  );
}
