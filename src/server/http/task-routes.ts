/** Routes of task models that take texts: vLLM's `/classify`, `/score` and `/rerank`, and OpenAI's `/v1/embeddings`. */
import type { Request, Response } from "express";
import { deferred } from "../../base/async.js";
import type { RequestSummary, Route } from "../../gateway/observer.js";
import { embeddingsAnswer, parseEmbeddings } from "../../gateway/openai/embeddings.js";
import type { InferAnswer } from "../../gateway/tasks/inference.js";
import { rowsOf, scoresOf } from "../../gateway/tasks/scores.js";
import type { TaskGateway } from "../../gateway/tasks/task-gateway.js";
import type { TextRequest, TokenizedRequest } from "../../gateway/tasks/text-tasks.js";
import { classifyAnswer, parseClassify } from "../../gateway/vllm/classify.js";
import { parseRerank, parseScore, rerankAnswer, type ScoreRequest, scoreAnswer } from "../../gateway/vllm/score.js";
import { askedModel } from "../asked-model.js";
import type { ServerOptions } from "../options.js";
import type { ReaderBounds } from "../reader-pace.js";
import { contextOf } from "./context.js";
import { sendJson } from "./send.js";

export function taskHandlers(gateway: TaskGateway, options: ServerOptions & ReaderBounds) {
  const { texts, textBounds } = gateway;
  /** Parses a body, and answers it with what `answer` makes of the model's outputs. */
  const handler = <Asked extends Omit<TextRequest, "connection">>(
    route: Route,
    read: (body: unknown) => Asked,
    answer: (found: InferAnswer, asked: Asked, request: TokenizedRequest) => object,
  ) => {
    return async (req: Request, res: Response): Promise<void> => {
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
            const request = await texts.request({ ...asked, connection: req.socket }, signal);
            return { ...request, answer: (found: InferAnswer) => answer(found, asked, request) };
          },
        },
        context.signal,
        ending.resolve,
      );
      await sendJson(res, body, options);
    };
  };
  const comparing = <Asked extends ScoreRequest>(asked: Asked) => ({ ...asked, texts: rowsOf(texts, asked.pairs) });
  return {
    score: handler(
      "score",
      (body) => comparing(parseScore(body, textBounds)),
      (found, { pairs }, request) =>
        scoreAnswer(found.model, scoresOf(texts, pairs, found, request), request.tokens ?? 0),
    ),
    rerank: handler(
      "rerank",
      (body) => comparing(parseRerank(body, textBounds)),
      (found, asked, request) =>
        rerankAnswer(found.model, scoresOf(texts, asked.pairs, found, request), asked, request.tokens ?? 0),
    ),
    classify: handler(
      "classify",
      (body) => parseClassify(body, textBounds),
      (found, { activates }, { tokens = 0 }) => classifyAnswer(found.model, texts.classify(found, activates), tokens),
    ),
    embeddings: handler(
      "embeddings",
      (body) => parseEmbeddings(body, textBounds),
      (found, asked, request) =>
        embeddingsAnswer(found.model, texts.embed(found, request, asked.dimensions), asked, request.tokens ?? 0),
    ),
  };
}
