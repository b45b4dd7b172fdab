/** The calls about tokens: vLLM's `POST /tokenize` and `POST /detokenize`, and Anthropic's `POST /v1/messages/count_tokens`. */
import type { Request, Response } from "express";
import { tokenCounter } from "../../gateway/anthropic/protocol.js";
import type { Gateway } from "../../gateway/gateway.js";
import type { ModelGateway } from "../../gateway/model-gateway.js";
import type { TaskGateway } from "../../gateway/tasks/task-gateway.js";
import {
  parseTextDetokenize,
  parseTextTokenize,
  textDetokenizeAnswer,
  textTokenizeAnswer,
} from "../../gateway/vllm/text-tokens.js";
import { TokenCalls } from "../../gateway/vllm/tokenize.js";
import { askedModel } from "../asked-model.js";
import type { ServerOptions } from "../options.js";
import { contextOf } from "./context.js";
import { sendJson } from "./send.js";

/** Notes a body for the log. Returns the signal of a client that leaves. */
export const noteTokens =
  (gateway: Pick<ModelGateway, "models">, { logPrompts }: Pick<ServerOptions, "logPrompts">) =>
  (req: Request, res: Response): AbortSignal => {
    const context = contextOf(res);
    if (logPrompts) context.body = req.body;
    Object.assign(context, askedModel(gateway.models, req.body));
    return context.signal;
  };

export function tokenizeHandlers(gateway: Gateway, options: ServerOptions) {
  const calls = new TokenCalls(gateway);
  const count = tokenCounter(gateway);
  const note = noteTokens(gateway, options);
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

/** vLLM's calls for a task model. */
export function textTokenHandlers(gateway: TaskGateway, options: ServerOptions) {
  const { tokens, textBounds } = gateway;
  const note = noteTokens(gateway, options);
  return {
    tokenize: async (req: Request, res: Response): Promise<void> => {
      const read = () => parseTextTokenize(req.body, textBounds);
      const { asked, rows } = await tokens.tokenize(read, note(req, res), req.socket);
      await sendJson(res, textTokenizeAnswer(rows, asked, tokens.maxLength), options);
    },
    detokenize: async (req: Request, res: Response): Promise<void> => {
      const texts = await tokens.decode(() => parseTextDetokenize(req.body, textBounds), note(req, res));
      await sendJson(res, textDetokenizeAnswer(texts), options);
    },
  };
}
