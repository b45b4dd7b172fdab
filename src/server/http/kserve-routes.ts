/** The routes of the Open Inference Protocol (KServe's version 2). */
import type { Request, Response } from "express";
import { deferred } from "../../base/async.js";
import { modelMetadata, parseInfer, serializeInfer } from "../../gateway/kserve/infer.js";
import type { RequestSummary } from "../../gateway/observer.js";
import type { InferAnswer } from "../../gateway/tasks/inference.js";
import type { TaskGateway } from "../../gateway/tasks/task-gateway.js";
import type { ServerOptions } from "../options.js";
import type { ReaderBounds } from "../reader-pace.js";
import { contextOf } from "./context.js";
import { sendJson } from "./send.js";

const nameOf = (req: Request): string => [req.params.name ?? ""].flat().join("/");

export function kserveHandlers(gateway: TaskGateway, options: ServerOptions & ReaderBounds) {
  const { models, signature, version } = gateway;
  return {
    server: (_req: Request, res: Response): void => {
      res.json({ name: "lorikeet", version, extensions: [] });
    },
    model: async (req: Request, res: Response): Promise<void> => {
      const { name } = models.get(nameOf(req));
      res.json(modelMetadata(name, await gateway.signatureOf(name)));
    },
    ready: (req: Request, res: Response): void => {
      res.json({ name: models.get(nameOf(req)).name, ready: true });
    },
    infer: async (req: Request, res: Response): Promise<void> => {
      const context = contextOf(res);
      if (options.logPrompts) context.body = req.body;
      const { name } = models.get(nameOf(req));
      context.model = name;
      const ending = deferred<RequestSummary>();
      context.summary = ending.promise;
      const read = () => {
        const request = parseInfer(name, req.body, signature);
        return { ...request, answer: (found: InferAnswer) => serializeInfer(request, found) };
      };
      await sendJson(res, await gateway.infer({ route: "infer", read }, context.signal, ending.resolve), options);
    },
  };
}
