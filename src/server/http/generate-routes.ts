/** The generation routes of any protocol: one body in, one JSON response or one event stream out. */
import type { Request as HttpRequest, Response } from "express";
import { LorikeetError } from "../../base/errors.js";
import type { Answer } from "../../gateway/answer.js";
import { asFault } from "../../gateway/fault.js";
import type { Gateway } from "../../gateway/gateway.js";
import type { Protocol } from "../../gateway/protocol.js";
import type { GenerationRequest } from "../../gateway/requests.js";
import { askedModel } from "../asked-model.js";
import type { ServerOptions } from "../options.js";
import type { ReaderBounds } from "../reader-pace.js";
import { contextOf } from "./context.js";
import { sendJson } from "./send.js";
import { streamAnswer } from "./sse.js";

export function generateHandler<Request extends GenerationRequest>(
  protocol: Protocol<Request>,
  gateway: Gateway,
  options: ServerOptions & ReaderBounds,
) {
  return (req: HttpRequest, res: Response): Promise<void> => generate(protocol, gateway, options, req, res);
}

/** Answers one request. */
export async function generate<Request extends GenerationRequest>(
  protocol: Protocol<Request>,
  gateway: Gateway,
  options: ServerOptions & ReaderBounds,
  req: HttpRequest,
  res: Response,
): Promise<void> {
  const context = contextOf(res);
  const body: unknown = req.body;
  noteBody(gateway, options, body, res);
  const reading = { route: protocol.route, read: () => protocol.read(body) };
  const answer = await gateway.complete(reading, context.signal, req.socket);
  context.summary = answer.ended;
  setIdentity(res, answer);
  if (answer.request.stream) context.fault = await streamAnswer(protocol, answer, res, options);
  else await sendWhole(protocol, answer, res, context.signal, options);
}

/** Adds to the log what a body asks for. */
export function noteBody(gateway: Gateway, { logPrompts }: ServerOptions, body: unknown, res: Response): void {
  const context = contextOf(res);
  if (logPrompts) context.body = body;
  Object.assign(context, askedModel(gateway.models, body));
}

function setIdentity(
  res: Response,
  { queueMs, adapter, digest }: Pick<Answer, "queueMs" | "adapter" | "digest">,
): void {
  res.setHeader("x-queue-ms", queueMs.toFixed(3));
  if (adapter !== null) res.setHeader("x-adapter", adapter);
  if (digest !== null) res.setHeader("x-adapter-digest", digest);
}

async function sendWhole<Request extends GenerationRequest>(
  protocol: Protocol<Request>,
  answer: Answer<Request>,
  res: Response,
  signal: AbortSignal,
  bounds: ReaderBounds,
): Promise<void> {
  try {
    const whole = await protocol.whole(answer);
    if (signal.aborted) throw new LorikeetError("cancelled", "The client left.");
    const { timeToFirstTokenMs } = await answer.ended;
    if (timeToFirstTokenMs !== null) res.setHeader("x-time-to-first-token-ms", timeToFirstTokenMs.toFixed(3));
    await sendJson(res, whole, bounds);
  } catch (error) {
    answer.cancel();
    throw asFault(error);
  }
}
