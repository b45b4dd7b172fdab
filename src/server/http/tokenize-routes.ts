/** The calls about tokens: vLLM's `POST /tokenize` and `POST /detokenize`, and Anthropic's `POST /v1/messages/count_tokens`. */
import type { Request, Response } from "express";
import { tokenCounter } from "../../gateway/anthropic/protocol.js";
import type { Gateway } from "../../gateway/gateway.js";
import { TokenCalls } from "../../gateway/vllm/tokenize.js";
import { askedModel } from "../asked-model.js";
import type { ServerOptions } from "../options.js";
import { contextOf } from "./context.js";
import { sendJson } from "./send.js";

export function tokenizeHandlers(gateway: Gateway, options: ServerOptions) {
  const calls = new TokenCalls(gateway);
  const count = tokenCounter(gateway);
  const note = (req: Request, res: Response): AbortSignal => {
    const context = contextOf(res);
    if (options.logPrompts) context.body = req.body;
    Object.assign(context, askedModel(gateway.models, req.body));
    return context.signal;
  };
  return {
    tokenize: async (req: Request, res: Response): Promise<void> => {
      await sendJson(res, await calls.tokenize(req.body, note(req, res), req.socket), options);
    },
    countTokens: async (req: Request, res: Response): Promise<void> => {
      await sendJson(res, await count(req.body, note(req, res), req.socket), options);
    },
    detokenize: async (req: Request, res: Response): Promise<void> => {
      await sendJson(res, await calls.detokenize(req.body, note(req, res)), options);
    },
  };
}
