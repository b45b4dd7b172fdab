/** Handlers of routes that take texts for a task model: a body is parsed, tokenized, run, and answered in a protocol's form. */
import type { Request, Response } from "express";
import { deferred } from "../../base/async.js";
import type { RequestSummary, Route } from "../../gateway/observer.js";
import type { InferAnswer } from "../../gateway/tasks/inference.js";
import type { TaskGateway } from "../../gateway/tasks/task-gateway.js";
import type { ComparedRequest, TextRequest, TokenizedRequest } from "../../gateway/tasks/text-tasks.js";
import { askedModel } from "../asked-model.js";
import type { ServerOptions } from "../options.js";
import type { ReaderBounds } from "../reader-pace.js";
import { contextOf } from "./context.js";
import { sendJson } from "./send.js";

export type TextHandler = (req: Request, res: Response) => Promise<void>;

/** `answer` makes the body of the model's outputs. */
export function textHandlers(gateway: TaskGateway, options: ServerOptions & ReaderBounds) {
  return <Asked extends Omit<TextRequest, "connection"> | Omit<ComparedRequest, "connection">>(
    route: Route,
    read: (body: unknown) => Asked,
    answer: (found: InferAnswer, asked: Asked, request: TokenizedRequest) => object,
  ): TextHandler => {
    return async (req, res) => {
      const context = contextOf(res);
      if (options.logPrompts) context.body = req.body;
      Object.assign(context, askedModel(gateway.models, req.body));
      const ending = deferred<RequestSummary>();
      context.summary = ending.promise;
      const body = await gateway.infer(
        {
          route,
          read: async (signal) => {
            const asked = read(req.body);
            if (asked.model !== null) gateway.models.get(asked.model); // before tokens are counted
            const { texts } = gateway;
            const connection = req.socket;
            const request = await ("pairs" in asked
              ? texts.compare({ ...asked, connection }, signal)
              : texts.request({ ...asked, connection }, signal));
            return { ...request, answer: (found: InferAnswer) => answer(found, asked, request) };
          },
        },
        context.signal,
        ending.resolve,
      );
      await sendJson(res, body, options);
    };
  };
}
