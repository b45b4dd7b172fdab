/** Hugging Face's pipelines: a body to a model's inputs, and its outputs to the pipeline's answer. */

import { LorikeetError } from "../../base/errors.js";
import type { TaskTensor } from "../../engine/task/types.js";
import { detections } from "../tasks/detections.js";
import type { AnsweredRequest } from "../tasks/inference.js";
import { type Activation, labelScores } from "../tasks/label-scores.js";
import { scoresOf } from "../tasks/scores.js";
import type { TaskParts } from "../tasks/task-parts.js";
import type { TextHead } from "../tasks/text-tasks.js";
import {
  detectionParameters,
  labelParameters,
  parseImageBody,
  parseRowsBody,
  parseSimilarityBody,
  parseTextBody,
  parseVectorBody,
  tagParameters,
  textLabelParameters,
} from "./body.js";

export interface PipelineCall {
  readonly model: string;
  /** A picture's bytes, or parsed JSON. */
  readonly body: unknown;
  readonly connection: object;
}

export type Pipeline = (parts: TaskParts, call: PipelineCall, signal: AbortSignal) => Promise<AnsweredRequest<object>>;

/** Labels of a picture unless `top_k` is given, as in transformers. */
const shownLabels = 5;

const pipelines: Readonly<Record<string, Pipeline>> = {
  "text-classification": textClassification,
  "token-classification": tokenClassification,
  "feature-extraction": featureExtraction,
  "sentence-similarity": sentenceSimilarity,
  "image-classification": imageClassification,
  "object-detection": objectDetection,
};

/**
 * `asked`: of the path; null: the first of the model's tasks that has a pipeline. An adapter may have other tasks than its base.
 *
 * @throws LorikeetError `model_unsupported` for a task without a pipeline.
 */
export function choosePipeline(tasks: readonly string[], asked: string | null): Pipeline {
  const name = asked ?? tasks.find((task) => Object.hasOwn(pipelines, task)) ?? tasks[0] ?? "none";
  const found = Object.hasOwn(pipelines, name) ? pipelines[name] : undefined;
  if (found) return found;
  const allowed = Object.keys(pipelines);
  const task = JSON.stringify(name.slice(0, 64));
  const fault =
    asked === null
      ? `The model's task is ${task}, which has no pipeline here`
      : `The task ${task} has no pipeline for this model`;
  throw new LorikeetError(
    "model_unsupported",
    `${fault}; ${allowed.join(", ")} have one, and /v2/models/{name}/infer takes tensors.`,
    { param: "task", found: name, allowed },
  );
}

const truncatedBy = "`truncation: true` in `parameters`";

/** A single label excludes no other, whatever the base's labels do. */
const usual = ({ isExclusive }: TextHead, logits: TaskTensor | undefined): Activation =>
  isExclusive && logits?.shape.at(-1) !== 1 ? "softmax" : "sigmoid";

async function textClassification(
  { texts, textBounds, head }: TaskParts,
  { model, body, connection }: PipelineCall,
  signal: AbortSignal,
) {
  const asked = parseRowsBody(body, textBounds);
  const { top_k: count, function_to_apply: activation, truncation: truncate } = textLabelParameters(asked.parameters);
  const request = await texts.request({ model, texts: asked.rows, truncate, truncatedBy, connection }, signal);
  return {
    ...request,
    answer: ({ rows, labels }) =>
      rows.map((outputs) => {
        const logits = outputs.get("logits");
        return labelScores(logits, activation ?? usual(head, logits), labels, head.labels).slice(0, count);
      }),
  } satisfies AnsweredRequest<object>;
}

async function tokenClassification(
  { texts, textBounds }: TaskParts,
  { model, body, connection }: PipelineCall,
  signal: AbortSignal,
) {
  const asked = parseTextBody(body, textBounds);
  const parameters = tagParameters(asked.parameters);
  const truncate = parameters.truncation;
  const request = await texts.request({ model, texts: asked.texts, truncate, truncatedBy, connection }, signal);
  const rules = { aggregation: parameters.aggregation_strategy, ignored: parameters.ignore_labels };
  return {
    ...request,
    answer(found) {
      const tagged = texts.tag(found, { ...request, ...rules, texts: asked.texts.map(String) });
      return asked.isSingle ? (tagged[0] ?? []) : tagged;
    },
  } satisfies AnsweredRequest<object>;
}

async function featureExtraction(
  { texts, textBounds }: TaskParts,
  { model, body, connection }: PipelineCall,
  signal: AbortSignal,
) {
  const asked = parseVectorBody(body, textBounds);
  const request = await texts.request(
    { model, texts: asked.texts, truncate: asked.truncates, truncatedBy, connection },
    signal,
  );
  return {
    ...request,
    answer(found) {
      const rules = asked.normalizes === null ? {} : { normalizes: asked.normalizes };
      const vectors = texts.embed(found, request, rules).map((vector) => Array.from(vector));
      return asked.isSingle ? (vectors[0] ?? []) : vectors;
    },
  } satisfies AnsweredRequest<object>;
}

/** How well a sentence fits each of several. */
async function sentenceSimilarity(
  { texts, textBounds }: TaskParts,
  { model, body, connection }: PipelineCall,
  signal: AbortSignal,
) {
  const { pairs, truncates } = parseSimilarityBody(body, textBounds);
  const request = await texts.compare(
    { model, pairs, truncate: truncates, truncatedBy: "`truncate: true` in `parameters`", connection },
    signal,
  );
  return { ...request, answer: (found) => scoresOf(texts, pairs, found, request) } satisfies AnsweredRequest<object>;
}

async function imageClassification({ images, head }: TaskParts, call: PipelineCall, signal: AbortSignal) {
  const { image, parameters } = parseImageBody(call.body);
  const { top_k: count = shownLabels, function_to_apply: activation } = labelParameters(parameters);
  const request = await images.request({ ...call, image }, signal);
  return {
    ...request,
    answer: ({ rows, labels }) => {
      const logits = rows[0]?.get("logits");
      return labelScores(logits, activation ?? usual(head, logits), labels, head.labels).slice(0, count);
    },
  } satisfies AnsweredRequest<object>;
}

async function objectDetection({ images, head, detector }: TaskParts, call: PipelineCall, signal: AbortSignal) {
  const { image, parameters } = parseImageBody(call.body);
  const { threshold = detector.threshold } = detectionParameters(parameters);
  const { original, ...request } = await images.request({ ...call, image }, signal);
  return {
    ...request,
    answer: ({ rows, labels }) =>
      detections(rows[0] ?? new Map(), { ...original, ...detector, threshold }, labels, head.labels),
  } satisfies AnsweredRequest<object>;
}
