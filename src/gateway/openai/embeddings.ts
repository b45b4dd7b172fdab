/** OpenAI's `POST /v1/embeddings`: its body and its answer. */

import * as v from "valibot";
import { integer, modelField } from "../body/field-kinds.js";
import { type BodyFormat, parse } from "../body/parse.js";
import { type TextBounds, textInputsField } from "../body/text-inputs.js";
import type { TextInput } from "../tasks/text-tasks.js";
import { base64Of } from "../tasks/values.js";

const truncationRule = "must be -1, which shortens a text to the longest that the model takes";
const maxDimensions = 65_536;

function formatOf(bounds: TextBounds) {
  const schema = v.object(
    {
      model: modelField,
      input: textInputsField(bounds, true),
      encoding_format: v.optional(v.picklist(["float", "base64"], "must be float or base64"), "float"),
      dimensions: v.optional(integer(1, maxDimensions)),
      truncate_prompt_tokens: v.optional(v.literal(-1, truncationRule)),
    },
    "is required",
  );
  const known = ["model", "input", "encoding_format", "dimensions", "truncate_prompt_tokens"];
  return { schema, known, ignored } as const;
}

const ignored: BodyFormat<v.GenericSchema>["ignored"] = {
  user: { allowed: "a string", accepts: (value) => typeof value === "string" },
};

export interface EmbeddingsRequest {
  readonly model: string | null;
  readonly texts: readonly TextInput[];
  readonly truncate: boolean;
  readonly truncatedBy: string;
  readonly isBase64: boolean;
  readonly dimensions: number | null;
}

/** Throws one LorikeetError that names every fault. */
export function parseEmbeddings(body: unknown, bounds: TextBounds): EmbeddingsRequest {
  const fields = parse(formatOf(bounds), body);
  return {
    model: fields.model ?? null,
    texts: fields.input,
    truncate: fields.truncate_prompt_tokens === -1,
    truncatedBy: "`truncate_prompt_tokens: -1`",
    isBase64: fields.encoding_format === "base64",
    dimensions: fields.dimensions ?? null,
  };
}

export function embeddingsAnswer(
  model: string,
  vectors: readonly Float32Array[],
  { isBase64 }: EmbeddingsRequest,
  tokens: number,
) {
  return {
    object: "list",
    data: vectors.map((vector, index) => ({
      object: "embedding",
      index,
      embedding: isBase64 ? base64Of([vector]) : [...vector],
    })),
    model,
    usage: { prompt_tokens: tokens, total_tokens: tokens },
  };
}
