/** The routes of text-embeddings-inference. `/rerank` and `/tokenize` are vLLM's too, whose bodies have other fields. */
import type { Request, RequestHandler, Response } from "express";
import { isObject } from "../../base/json.js";
import { scoresOf } from "../../gateway/tasks/scores.js";
import type { TaskGateway } from "../../gateway/tasks/task-gateway.js";
import { infoAnswer, predictAnswer, rankAnswer, tokenizeAnswer } from "../../gateway/tei/answers.js";
import {
  parseDecode,
  parseEmbed,
  parseEmbedTokens,
  parsePredict,
  parseRank,
  parseSimilarity,
  parseTokenize,
} from "../../gateway/tei/body.js";
import { teiErrorForm } from "../../gateway/tei/errors.js";
import type { ServerOptions } from "../options.js";
import type { ReaderBounds } from "../reader-pace.js";
import { contextOf } from "./context.js";
import { sendJson } from "./send.js";
import { textHandlers } from "./text-handler.js";
import { noteTokens } from "./tokenize-routes.js";

export function teiHandlers(gateway: TaskGateway, options: ServerOptions & ReaderBounds) {
  const { texts, textBounds, tokens } = gateway;
  const handler = textHandlers(gateway, options);
  const note = noteTokens(gateway, options);
  return {
    info: (_req: Request, res: Response): void => {
      const { models, version, parts, limits } = gateway;
      const name = models.list().find(({ parent }) => parent === null)?.name ?? "";
      const bounds = { maxLength: tokens.maxLength, maxRows: textBounds.maxSequences, ...limits };
      res.json(infoAnswer({ name, version, head: parts.head, ...bounds }));
    },
    embed: handler(
      "embed",
      (body) => parseEmbed(body, textBounds),
      (found, asked, request) => texts.embed(found, request, asked).map((vector) => Array.from(vector)),
    ),
    embedAll: handler(
      "embed",
      (body) => parseEmbedTokens(body, textBounds),
      (found, _, request) => texts.embedTokens(found, request).map((text) => text.map((token) => Array.from(token))),
    ),
    embedSparse: handler(
      "embed",
      (body) => parseEmbedTokens(body, textBounds),
      (found, _, request) => texts.embedSparse(found, request),
    ),
    predict: handler(
      "predict",
      (body) => parsePredict(body, textBounds),
      (found, asked) => predictAnswer(texts.classify(found, asked.activates), asked),
    ),
    rerank: handler(
      "rerank",
      (body) => parseRank(body, textBounds),
      (found, asked, request) => rankAnswer(scoresOf(texts, asked.pairs, found, request, asked.activates), asked),
    ),
    similarity: handler(
      "similarity",
      (body) => parseSimilarity(body, textBounds),
      (found, { pairs }, request) => scoresOf(texts, pairs, found, request),
    ),
    tokenize: async (req: Request, res: Response): Promise<void> => {
      const read = () => parseTokenize(req.body, textBounds);
      const { asked, rows } = await tokens.tokenize(read, note(req, res), req.socket);
      await sendJson(res, tokenizeAnswer(rows, asked.texts), options);
    },
    decode: async (req: Request, res: Response): Promise<void> => {
      await sendJson(res, await tokens.decode(() => parseDecode(req.body, textBounds), note(req, res)), options);
    },
  };
}

/** Answers a body with this field as TEI does, faults included, and any other by `others`. */
export function teiIfHas(field: string, tei: RequestHandler, others: RequestHandler): RequestHandler {
  return (req, res, next) => {
    const body: unknown = req.body;
    if (!isObject(body) || body[field] === undefined) return others(req, res, next);
    contextOf(res).errorForm = teiErrorForm;
    return tei(req, res, next);
  };
}
