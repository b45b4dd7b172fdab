/** `POST /tokenize` and `POST /detokenize`, as vLLM has them. */
import type { Request, Response } from "express";
import type { Gateway } from "../gateway/gateway.js";
import { contextOf } from "./context.js";
import type { ServerOptions } from "./options.js";

export function tokenizeHandlers({ tokenization }: Gateway, options: ServerOptions) {
  const note = (req: Request, res: Response): AbortSignal => {
    const context = contextOf(res);
    if (options.logPrompts) context.body = req.body;
    return context.signal;
  };
  return {
    tokenize: async (req: Request, res: Response): Promise<void> => {
      res.json(await tokenization.tokenize(req.body, note(req, res), req.socket));
    },
    detokenize: async (req: Request, res: Response): Promise<void> => {
      res.json(await tokenization.detokenize(req.body, note(req, res)));
    },
  };
}
