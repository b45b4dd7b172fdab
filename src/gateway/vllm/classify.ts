/** vLLM's `POST /classify`: its body and its answer. */

import { randomUUID } from "node:crypto";
import * as v from "valibot";
import { flag, modelField } from "../body/field-kinds.js";
import { type BodyFormat, parse } from "../body/parse.js";
import { type TextBounds, textInputsField } from "../body/text-inputs.js";
import type { Classified, TextInput } from "../tasks/text-tasks.js";

const truncationRule = "must be -1, which shortens a text to the longest that the model takes";

function formatOf(bounds: TextBounds) {
  const schema = v.object(
    {
      model: modelField,
      input: textInputsField(bounds, true),
      truncate_prompt_tokens: v.optional(v.literal(-1, truncationRule)),
      use_activation: v.optional(flag, true),
    },
    "is required",
  );
  return { schema, known: ["model", "input", "truncate_prompt_tokens", "use_activation"], ignored } as const;
}

const ignored: BodyFormat<v.GenericSchema>["ignored"] = {
  user: { allowed: "a string", accepts: (value) => typeof value === "string" },
};

export interface ClassifyRequest {
  readonly model: string | null;
  readonly texts: readonly TextInput[];
  readonly truncate: boolean;
  readonly activates: boolean;
}

/** Throws one LorikeetError that names every fault. */
export function parseClassify(body: unknown, bounds: TextBounds): ClassifyRequest {
  const fields = parse(formatOf(bounds), body);
  return {
    model: fields.model ?? null,
    texts: fields.input,
    truncate: fields.truncate_prompt_tokens === -1,
    activates: fields.use_activation,
  };
}

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
