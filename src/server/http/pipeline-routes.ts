/** Hugging Face's routes: `POST /models/{name}`, with `/pipeline/{task}` after the name where the model leaves the task open. */
import type { Request, Response } from "express";
import { deferred } from "../../base/async.js";
import type { Gateway } from "../../gateway/gateway.js";
import { choosePipeline } from "../../gateway/huggingface/pipelines.js";
import { text2textPipeline, text2textProtocol } from "../../gateway/huggingface/text2text.js";
import type { RequestSummary } from "../../gateway/observer.js";
import type { TaskGateway } from "../../gateway/tasks/task-gateway.js";
import type { ServerOptions } from "../options.js";
import type { ReaderBounds } from "../reader-pace.js";
import { contextOf } from "./context.js";
import { generate } from "./generate-routes.js";
import { sendJson } from "./send.js";

export function pipelineHandler(gateway: TaskGateway, options: ServerOptions & ReaderBounds) {
  return async (req: Request, res: Response): Promise<void> => {
    const context = contextOf(res);
    if (options.logPrompts && !Buffer.isBuffer(req.body)) context.body = req.body;
    const { name, task } = readPath(req);
    const { name: model, tasks } = gateway.models.get(name);
    context.model = model;
    const ending = deferred<RequestSummary>();
    context.summary = ending.promise;
    const read = (signal: AbortSignal) => {
      const pipeline = choosePipeline(tasks, task);
      return pipeline(gateway.parts, { model, body: req.body, connection: req.socket }, signal);
    };
    await sendJson(res, await gateway.infer({ route: "pipeline", read }, context.signal, ending.resolve), options);
  };
}

/** Of an encoder-decoder. */
export function text2textHandler(gateway: Gateway, options: ServerOptions & ReaderBounds) {
  return async (req: Request, res: Response): Promise<void> => {
    const path = readPath(req);
    const model = gateway.models.get(path.name).name;
    const pipeline = text2textPipeline(path.task, gateway.sourceTask ?? "");
    await generate(text2textProtocol(gateway, { model, ...pipeline }), gateway, options, req, res);
    contextOf(res).model = model;
  };
}

/** The model and the task that a path names. A name may have slashes. */
export function readPath(req: Request): { name: string; task: string | null } {
  const parts = [req.params.name ?? ""].flat();
  const task = parts.at(-2) === "pipeline" && parts.length > 2 ? (parts.at(-1) ?? null) : null;
  return { name: (task === null ? parts : parts.slice(0, -2)).join("/"), task };
}
