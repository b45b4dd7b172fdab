/** The routes of OpenAI's Responses API. */
import type { Request, Response } from "express";
import { hasCode, LorikeetError } from "../../base/errors.js";
import { isObject } from "../../base/json.js";
import { type Bases, generatesChats } from "../../gateway/bases.js";
import type { Gateway } from "../../gateway/gateway.js";
import { readItemQuery } from "../../gateway/responses/item-list.js";
import type { Responses } from "../../gateway/responses/responses.js";
import type { Access } from "../access/access.js";
import type { ServerOptions } from "../options.js";
import type { ReaderBounds } from "../reader-pace.js";
import { generate, noteBody } from "./generate-routes.js";
import { queryOf } from "./request-target.js";
import { routed } from "./routed.js";
import { sendJson } from "./send.js";

export interface ResponsesRouteParts {
  readonly bases: Bases;
  readonly responses: Responses;
  readonly access: Access;
  readonly options: ServerOptions & ReaderBounds;
}

export function responsesHandlers({ bases, responses, access, options }: ResponsesRouteParts) {
  const create =
    (gateway: Gateway) =>
    async (req: Request, res: Response): Promise<void> => {
      const owner = access.ownerOf(req);
      const body: unknown = req.body;
      if (!isObject(body) || body.background !== true) {
        return generate(responses.protocol(gateway, owner), gateway, options, req, res);
      }
      noteBody(gateway, options, body, res);
      const starting = responses.start(gateway, owner, body, req.socket);
      const queued = await starting.catch((error: unknown) => {
        const isFull = hasCode(error, "background_full");
        if (isFull) options.onLimit?.("max-background-responses");
        throw error;
      });
      await sendJson(res, queued, options);
    };
  return {
    create: routed(bases, "text", create, { route: "responses", fits: generatesChats }),
    get: async (req: Request, res: Response): Promise<void> => {
      requireNoStream(queryOf(req));
      await sendJson(res, await responses.get(access.ownerOf(req), idOf(req)), options);
    },
    remove: async (req: Request, res: Response): Promise<void> => {
      await responses.remove(access.ownerOf(req), idOf(req));
      res.json({ id: idOf(req), object: "response", deleted: true });
    },
    cancel: async (req: Request, res: Response): Promise<void> => {
      await sendJson(res, await responses.cancel(access.ownerOf(req), idOf(req)), options);
    },
    inputItems: async (req: Request, res: Response): Promise<void> => {
      const query = readItemQuery(queryOf(req));
      await sendJson(res, await responses.inputItems(access.ownerOf(req), idOf(req), query), options);
    },
  };
}

function idOf(req: Request): string {
  const { id } = req.params;
  return typeof id === "string" ? id : "";
}

function requireNoStream(query: URLSearchParams): void {
  const name = ["stream", "starting_after"].find((each) => query.has(each) && query.get(each) !== "false");
  if (name === undefined) return;
  const message = `The parameter \`${name}\` is not supported: a stored response is sent whole.`;
  throw new LorikeetError("unsupported_parameter", message, { param: name });
}
