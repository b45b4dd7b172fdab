/** `POST /v1/completions` and `POST /v1/chat/completions`: one body in, one JSON answer or one stream of events out. */
import type { Request, Response } from "express";
import { LorikeetError } from "../../base/errors.js";
import type { Answer } from "../../gateway/answer.js";
import type { Gateway } from "../../gateway/gateway.js";
import { asFault } from "../../gateway/generation.js";
import type { Route } from "../../gateway/observer.js";
import { askedModel } from "../asked-model.js";
import type { ServerOptions } from "../options.js";
import type { ReaderBounds } from "../reader-pace.js";
import { contextOf } from "./context.js";
import { sendJson } from "./send.js";
import { streamAnswer } from "./sse.js";

export function generateHandler(route: Route, gateway: Gateway, options: ServerOptions & ReaderBounds) {
  return async (req: Request, res: Response): Promise<void> => {
    const context = contextOf(res);
    const body: unknown = req.body;
    if (options.logPrompts) context.body = body;
    Object.assign(context, askedModel(gateway, body));
    const answer = await (route === "chat"
      ? gateway.chat(body, context.signal, req.socket)
      : gateway.complete(body, context.signal, req.socket));
    context.summary = answer.ended;
    setIdentity(res, answer);
    if (answer.stream) context.fault = await streamAnswer(answer, res, options);
    else await sendWhole(answer, res, context.signal, options);
  };
}

function setIdentity(res: Response, answer: Answer): void {
  res.setHeader("x-queue-ms", answer.queueMs.toFixed(3));
  if (answer.adapter !== null) res.setHeader("x-adapter", answer.adapter);
  if (answer.digest !== null) res.setHeader("x-adapter-digest", answer.digest);
}

async function sendWhole(answer: Answer, res: Response, signal: AbortSignal, bounds: ReaderBounds): Promise<void> {
  try {
    const { data, lorikeet } = await answer.collect();
    if (signal.aborted) throw new LorikeetError("cancelled", "The client left.");
    const first = lorikeet.time_to_first_token_ms;
    if (first !== null) res.setHeader("x-time-to-first-token-ms", first.toFixed(3));
    await sendJson(res, data, bounds);
  } catch (error) {
    answer.cancel();
    throw asFault(error);
  }
}
