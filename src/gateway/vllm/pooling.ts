/** vLLM's `POST /pooling`: its body and its answer, the vectors or scores of whole texts or of their tokens. */

import { randomUUID } from "node:crypto";
import * as v from "valibot";
import { isObject } from "../../base/json.js";
import { type BodyFormat, parse } from "../body/parse.js";
import type { TextBounds } from "../body/text-inputs.js";
import type { TextAnswer } from "../tasks/answers.js";
import type { InferAnswer } from "../tasks/inference.js";
import type { TextTasks, TokenizedRequest } from "../tasks/text-tasks.js";
import { base64Of } from "../tasks/values.js";
import { type TextsRequest, textEntries, textsRequest } from "./texts.js";

const tasks = ["embed", "classify", "token_embed", "token_classify"] as const;
type PoolingTask = (typeof tasks)[number];

function formatOf(bounds: TextBounds) {
  const entries = {
    ...textEntries(bounds),
    task: v.optional(v.picklist(tasks, `must be one of ${tasks.join(", ")}`)),
    encoding_format: v.optional(v.picklist(["float", "base64"], "must be float or base64"), "float"),
  };
  return { schema: v.object(entries, "is required"), known: Object.keys(entries), ignored } as const;
}

const ignored: BodyFormat<v.GenericSchema>["ignored"] = {
  user: { allowed: "a string", accepts: (value) => typeof value === "string" },
  priority: { allowed: "0", accepts: (value) => value === 0 },
  embed_dtype: { allowed: "float32", accepts: (value) => value === "float32" },
  endianness: { allowed: "native or little", accepts: (value) => value === "native" || value === "little" },
};

export interface PoolingRequest extends TextsRequest {
  /** null: what the model's outputs are for. */
  readonly task: PoolingTask | null;
  readonly isBase64: boolean;
}

const answers: Readonly<Record<PoolingTask, TextAnswer>> = {
  embed: "vectors",
  classify: "labels",
  token_embed: "tokenVectors",
  token_classify: "tokenLabels",
};

/** What an untrusted body asks for; null: what the model's outputs are for. */
export function answerOfPooling(body: unknown): TextAnswer | null {
  const asked = isObject(body) ? body.task : null;
  const task = tasks.find((each) => each === asked);
  return task ? answers[task] : null;
}

/** Throws one LorikeetError that names every fault. */
export function parsePooling(body: unknown, bounds: TextBounds): PoolingRequest {
  const fields = parse(formatOf(bounds), body);
  return {
    ...textsRequest(fields),
    task: fields.task ?? null,
    isBase64: fields.encoding_format === "base64",
  };
}

/** Throws `model_unsupported` for a task that the model's outputs are not for. */
export function poolingAnswer(texts: TextTasks, asked: PoolingRequest, found: InferAnswer, request: TokenizedRequest) {
  const pooled = pooledBy[asked.task ?? usualTask(found)](texts, asked, found, request);
  const tokens = request.tokens ?? 0;
  return {
    id: `pool-${randomUUID().replaceAll("-", "")}`,
    object: "list",
    created: Math.floor(Date.now() / 1000),
    model: found.model,
    data: pooled.map((data, index) => ({
      index,
      object: "pooling",
      data: asked.isBase64 ? encoded(data) : listed(data),
    })),
    usage: { prompt_tokens: tokens, total_tokens: tokens, completion_tokens: 0, prompt_tokens_details: null },
  };
}

type Vector = Float32Array | Float64Array;
/** One vector, or one for each token. */
type Pooled = Vector | readonly Vector[];

const pooledBy: Readonly<
  Record<
    PoolingTask,
    (texts: TextTasks, asked: PoolingRequest, found: InferAnswer, request: TokenizedRequest) => readonly Pooled[]
  >
> = {
  embed: (texts, _, found, request) => texts.embed(found, request),
  classify: (texts, { activates }, found) => texts.classify(found, activates).map(({ scores }) => scores),
  token_embed: (texts, _, found, request) => texts.embedTokens(found, request),
  token_classify: (texts, { activates }, found, request) => texts.classifyTokens(found, request, activates),
};

function usualTask({ rows }: InferAnswer): PoolingTask {
  const axes = rows[0]?.get("logits")?.shape.length;
  if (axes === undefined) return "embed";
  return axes === 2 ? "classify" : "token_classify";
}

const isVector = (data: Pooled): data is Vector => data instanceof Float32Array || data instanceof Float64Array;

const listed = (data: Pooled): readonly number[] | readonly number[][] =>
  isVector(data) ? Array.from(data) : data.map((token) => Array.from(token));

const encoded = (data: Pooled): string =>
  base64Of((isVector(data) ? [data] : data).map((vector) => Float32Array.from(vector)));
