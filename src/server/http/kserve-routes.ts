/** The routes of the Open Inference Protocol (KServe's version 2). */
import type { Request, Response } from "express";
import { deferred } from "../../base/async.js";
import { hasCode } from "../../base/errors.js";
import { checkVersion, modelMetadata, modelVersion, parseInfer, serializeInfer } from "../../gateway/kserve/infer.js";
import { BinaryMessage } from "../../gateway/kserve/message.js";
import type { RequestSummary } from "../../gateway/observer.js";
import type { InferAnswer } from "../../gateway/tasks/inference.js";
import type { TaskGateway } from "../../gateway/tasks/task-gateway.js";
import type { ServerOptions } from "../options.js";
import type { ReaderBounds } from "../reader-pace.js";
import { contextOf } from "./context.js";
import { nameInPath } from "./routed.js";
import { sendJson, sendPieces } from "./send.js";
import { headLengthHeader } from "./tensor-body.js";

/** `GET /v2`: what the server is. */
export const serverMetadata =
  (version: string) =>
  (_req: Request, res: Response): void => {
    res.json({ name: "lorikeet", version, extensions: ["binary_tensor_data"] });
  };

export function kserveHandlers(gateway: TaskGateway, options: ServerOptions & ReaderBounds) {
  const { models, signature } = gateway;
  /** The model of a path, whose name may have slashes. Throws `model_not_found` for it or its version. */
  const modelOf = (req: Request): string => {
    const { name } = models.get(nameInPath(req));
    const asked = req.params.version;
    checkVersion(name, typeof asked === "string" ? asked : null);
    return name;
  };
  return {
    model: async (req: Request, res: Response): Promise<void> => {
      const name = modelOf(req);
      const described = await gateway.signatureOf(name, contextOf(res).signal).catch((error: unknown) => {
        const isFull = hasCode(error, "queue_full");
        if (isFull) options.onLimit?.("max-queue");
        throw error;
      });
      res.json(modelMetadata(name, gateway.platform, described));
    },
    ready: (req: Request, res: Response): void => {
      res.json({ name: modelOf(req), version: modelVersion, ready: true });
    },
    infer: async (req: Request, res: Response): Promise<void> => {
      const context = contextOf(res);
      const body: unknown = req.body;
      if (options.logPrompts) context.body = body instanceof BinaryMessage ? body.json : body;
      const name = modelOf(req);
      context.model = name;
      const ending = deferred<RequestSummary>();
      context.summary = ending.promise;
      const read = () => {
        const request = parseInfer(name, body, signature);
        return { ...request, answer: (found: InferAnswer) => serializeInfer(request, found) };
      };
      const answer = await gateway.infer({ route: "infer", read }, context.signal, ending.resolve);
      if (answer instanceof BinaryMessage) await sendBinary(res, answer, options);
      else await sendJson(res, answer, options);
    },
  };
}

/** Bytes of a piece: a reader that is behind gets the next one later. */
const pieceBytes = 32_768;

async function sendBinary(res: Response, { json, tensors }: BinaryMessage, bounds: ReaderBounds): Promise<void> {
  const head = Buffer.from(JSON.stringify(json));
  const size = tensors.reduce((sum, { byteLength }) => sum + byteLength, head.length);
  res.setHeader("content-type", "application/octet-stream");
  res.setHeader(headLengthHeader, head.length);
  res.setHeader("content-length", size);
  await sendPieces(res, piecesOf([head, ...tensors]), bounds);
}

async function* piecesOf(parts: readonly Uint8Array[]): AsyncGenerator<Buffer, void, undefined> {
  for (const { buffer, byteOffset, byteLength } of parts) {
    for (let start = 0; start < byteLength; start += pieceBytes) {
      yield Buffer.from(buffer, byteOffset + start, Math.min(pieceBytes, byteLength - start));
    }
  }
}
