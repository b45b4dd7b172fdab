/** Routes of task models that take texts: vLLM's `/classify`, `/pooling`, `/score` and `/rerank`, and OpenAI's `/v1/embeddings`. */
import { embeddingsAnswer, parseEmbeddings } from "../../gateway/openai/embeddings.js";
import { scoresOf } from "../../gateway/tasks/scores.js";
import type { TaskGateway } from "../../gateway/tasks/task-gateway.js";
import { classifyAnswer, parseClassify } from "../../gateway/vllm/classify.js";
import { parsePooling, poolingAnswer } from "../../gateway/vllm/pooling.js";
import { parseRerank, parseScore, rerankAnswer, scoreAnswer } from "../../gateway/vllm/score.js";
import type { ServerOptions } from "../options.js";
import type { ReaderBounds } from "../reader-pace.js";
import { textHandlers } from "./text-handler.js";

export function taskHandlers(gateway: TaskGateway, options: ServerOptions & ReaderBounds) {
  const { texts, textBounds } = gateway;
  const handler = textHandlers(gateway, options);
  return {
    score: handler(
      "score",
      (body) => parseScore(body, textBounds),
      (found, { pairs }, request) =>
        scoreAnswer(found.model, scoresOf(texts, pairs, found, request), request.tokens ?? 0),
    ),
    rerank: handler(
      "rerank",
      (body) => parseRerank(body, textBounds),
      (found, asked, request) =>
        rerankAnswer(found.model, scoresOf(texts, asked.pairs, found, request), asked, request.tokens ?? 0),
    ),
    classify: handler(
      "classify",
      (body) => parseClassify(body, textBounds),
      (found, { activates }, { tokens = 0 }) => classifyAnswer(found.model, texts.classify(found, activates), tokens),
    ),
    pooling: handler(
      "pooling",
      (body) => parsePooling(body, textBounds),
      (found, asked, request) => poolingAnswer(texts, asked, found, request),
    ),
    embeddings: handler(
      "embeddings",
      (body) => parseEmbeddings(body, textBounds),
      (found, asked, request) =>
        embeddingsAnswer(found.model, texts.embed(found, request, asked), asked, request.tokens ?? 0),
    ),
  };
}
