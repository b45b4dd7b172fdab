/** vLLM's `POST /classify`: its body and its answer. */

import { randomUUID } from "node:crypto";
import * as v from "valibot";
import { type BodyFormat, parse } from "../body/parse.js";
import type { TextBounds } from "../body/text-inputs.js";
import type { Classified } from "../tasks/text-tasks.js";
import { type TextsRequest, textEntries, textsRequest } from "./texts.js";

function formatOf(bounds: TextBounds) {
  const entries = textEntries(bounds);
  return { schema: v.object(entries, "is required"), known: Object.keys(entries), ignored } as const;
}

const ignored: BodyFormat<v.GenericSchema>["ignored"] = {
  user: { allowed: "a string", accepts: (value) => typeof value === "string" },
};

/** Throws one LorikeetError that names every fault. */
export const parseClassify = (body: unknown, bounds: TextBounds): TextsRequest =>
  textsRequest(parse(formatOf(bounds), body));

export function classifyAnswer(model: string, classified: readonly Classified[], tokens: number) {
  return {
    id: `classify-${randomUUID().replaceAll("-", "")}`,
    object: "list",
    created: Math.floor(Date.now() / 1000),
    model,
    data: classified.map(({ label, scores }, index) => ({
      index,
      label,
      probs: [...scores],
      num_classes: scores.length,
    })),
    usage: { prompt_tokens: tokens, total_tokens: tokens, completion_tokens: 0, prompt_tokens_details: null },
  };
}
