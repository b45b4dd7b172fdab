/** The adapter routes: list, upload, pin, delete and download, and vLLM's load and unload calls. */
import type { Request, Response } from "express";
import { LorikeetError } from "../../base/errors.js";
import type { Bases } from "../../gateway/bases.js";
import { adapterObject, cardObject, modelCardObject, parsePin } from "../../gateway/lorikeet/adapters.js";
import { AdapterCalls } from "../../gateway/vllm/adapter-calls.js";
import type { ReaderBounds } from "../reader-pace.js";
import { contextOf } from "./context.js";
import { nameInPath } from "./routed.js";
import { sendJson, sendPieces } from "./send.js";

/** The options that bound an upload, by the names that its errors use. */
const uploadLimits: ReadonlySet<string> = new Set([
  ...["max-uploads", "max-uploads-per-address"],
  ...["upload-idle-timeout", "min-upload-rate", "upload-timeout"],
]);

export function adapterHandlers(bases: Pick<Bases, "adapters" | "card">, bounds: ReaderBounds) {
  const { adapters } = bases;
  const calls = new AdapterCalls(adapters);
  return {
    list: async (_req: Request, res: Response): Promise<void> => {
      await sendJson(res, { object: "list", data: adapters.list().map(adapterObject) }, bounds);
    },
    get: (req: Request, res: Response): void => {
      res.json(adapterObject(adapters.get(nameOf(req))));
    },
    put: async (req: Request, res: Response): Promise<void> => {
      const sending = adapters.upload(
        {
          name: nameOf(req),
          base: baseOf(req),
          body: req,
          contentType: req.headers["content-type"] ?? null,
          contentLength: lengthOf(req),
          contentDigest: headerOf(req, "content-digest"),
          onlyNew: wantsNew(req),
          client: contextOf(res).client,
        },
        contextOf(res).signal,
      );
      const stored = await sending.catch((error: unknown) => {
        const limit = error instanceof LorikeetError ? error.param : undefined;
        if (limit !== undefined && uploadLimits.has(limit)) bounds.onLimit?.(limit);
        throw error;
      });
      res
        .status(stored.outcome === "created" ? 201 : 200)
        .json({ ...adapterObject(stored.adapter), outcome: stored.outcome });
    },
    patch: async (req: Request, res: Response): Promise<void> => {
      res.json(adapterObject(await adapters.pin(nameOf(req), parsePin(req.body))));
    },
    remove: async (req: Request, res: Response): Promise<void> => {
      const { name, digest } = await adapters.remove(nameOf(req));
      res.json({ name, object: "adapter", digest, deleted: true });
    },
    card: async (req: Request, res: Response): Promise<void> => {
      const name = nameOf(req);
      await sendJson(res, cardObject(name, await adapters.card(name)), bounds);
    },
    /** Of a base too. */
    modelCard: async (req: Request, res: Response): Promise<void> => {
      const name = nameInPath(req);
      await sendJson(res, modelCardObject(name, await bases.card(name)), bounds);
    },
    download: async (req: Request, res: Response): Promise<void> => {
      const name = nameOf(req);
      const { digest, tar } = await adapters.download(name);
      res.setHeader("content-type", "application/x-tar");
      res.setHeader("content-disposition", `attachment; filename="${name.replaceAll("/", "_")}.tar"`);
      res.setHeader("x-adapter-digest", digest);
      await sendPieces(res, tar, bounds);
    },
    load: async (req: Request, res: Response): Promise<void> => {
      res.type("text/plain").send(await calls.load(req.body, baseOf(req)));
    },
    unload: async (req: Request, res: Response): Promise<void> => {
      res.type("text/plain").send(await calls.unload(req.body));
    },
  };
}

function nameOf(req: Request): string {
  const { name } = req.params;
  return typeof name === "string" ? name : "";
}

/** `?base=`, the served name of the adapter's base. Throws `invalid_value` for several. */
function baseOf(req: Request): string | null {
  const at = req.url.indexOf("?");
  const [base = null, ...others] = at < 0 ? [] : new URLSearchParams(req.url.slice(at + 1)).getAll("base");
  if (others.length === 0) return base;
  const found = others.length + 1;
  throw new LorikeetError("invalid_value", `\`base\` is given ${found} times; once is allowed.`, {
    param: "base",
    ...{ found, allowed: 1 },
  });
}

function headerOf(req: Request, name: string): string | null {
  const value = req.headers[name];
  return typeof value === "string" ? value : null;
}

/** The announced content length. Node refuses invalid ones itself. */
function lengthOf(req: Request): number | null {
  const value = req.headers["content-length"];
  return value === undefined ? null : Number(value);
}

function wantsNew(req: Request): boolean {
  const value = req.headers["if-none-match"];
  if (value === undefined) return false;
  if (value.trim() === "*") return true;
  throw new LorikeetError("invalid_value", "`If-None-Match` is supported only as `*`.", { param: "If-None-Match" });
}
