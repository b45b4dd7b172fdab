/** Hugging Face's pipelines of encoder-decoders: translation, summarization and text2text-generation. */

import * as v from "valibot";
import { assert, LorikeetError } from "../../base/errors.js";
import { isObject, type Json } from "../../base/json.js";
import { sourceFormOf } from "../../text/source-forms.js";
import { flag, integer, languageEntries, objectField, real } from "../body/field-kinds.js";
import { type BodyFormat, describe, faultsError, type IgnoredTable, invalid, parse } from "../body/parse.js";
import { temperatureOf } from "../body/temperature.js";
import { textInputsField } from "../body/text-inputs.js";
import type { Gateway } from "../gateway.js";
import { seedField } from "../openai/fields.js";
import { mostTokens, type RequestBounds } from "../options.js";
import type { Protocol } from "../protocol.js";
import type { CompletionRequest } from "../requests.js";
import { repetitionBounds } from "../sampling.js";
import { huggingFaceErrorForm } from "./errors.js";

/** By pipeline, the field that holds a text of the answer. */
const answerFields: Readonly<Record<string, string>> = {
  translation: "translation_text",
  summarization: "summary_text",
  "text2text-generation": "generated_text",
};

/** A pipeline, and the task under its whole name, such as `translation_en_to_de`. */
export interface Text2TextPipeline {
  readonly pipeline: string;
  readonly task: string;
}

/** The pipeline of a path, or the model's own. Throws `model_unsupported` for one of other models. */
export function text2textPipeline(asked: string | null, task: string): Text2TextPipeline {
  const name = asked ?? task;
  // Hugging Face's clients may name the languages.
  const pipeline = /^translation_\w+_to_\w+$/.test(name) ? "translation" : name;
  if (Object.hasOwn(answerFields, pipeline)) return { pipeline, task: name };
  const allowed = Object.keys(answerFields);
  throw new LorikeetError(
    "model_unsupported",
    `The model's task is ${JSON.stringify(task)}, which ${JSON.stringify(name.slice(0, 64))} does not fit; ${allowed.join(", ")} do.`,
    { param: "task", found: name, allowed },
  );
}

export interface Text2TextCall extends Text2TextPipeline {
  /** A model's or an adapter's name. */
  readonly model: string;
}

type SourceGateway = Pick<Gateway, "bounds" | "sources">;

/** Reads and answers one call. A list of texts gives a list of as many answers, as one text gives a list of one. */
export function text2textProtocol(gateway: SourceGateway, call: Text2TextCall): Protocol<CompletionRequest> {
  const field = answerFields[call.pipeline] ?? "";
  return {
    route: "pipeline",
    read: (body) => readBody(body, call, gateway),
    async *frames(answer) {
      for await (const { index, text } of answer.parts()) yield { type: "chunk", data: { index, [field]: text } };
      yield { type: "done", marker: "[DONE]", data: {} };
    },
    whole: async (answer) => (await answer.collect()).map(({ text }) => ({ [field]: text })),
    errorForm: huggingFaceErrorForm,
  };
}

const truncations = ["do_not_truncate", "longest_first", "only_first", "only_second"] as const;

/** What changes nothing as it is accepted. */
const ignored: IgnoredTable = {
  num_beams: { allowed: "1", accepts: (value) => value === 1 },
  num_return_sequences: { allowed: "1", accepts: (value) => value === 1 },
  min_length: { allowed: "0", accepts: (value) => value === 0 },
  early_stopping: { allowed: "false", accepts: (value) => value === false },
  clean_up_tokenization_spaces: { allowed: "false", accepts: (value) => value === false },
  return_tensors: { allowed: "false", accepts: (value) => value === false },
  return_text: { allowed: "true", accepts: (value) => value === true },
};

function parametersFormat(bounds: RequestBounds) {
  const most = mostTokens(bounds);
  const entries = {
    truncation: v.optional(
      v.union([flag, v.picklist(truncations)], `must be true, false or one of ${truncations.join(", ")}`),
      false,
    ),
    ...languageEntries,
    max_new_tokens: v.optional(integer(1, most)),
    max_length: v.optional(integer(2, most + 1)),
    do_sample: v.optional(flag, false),
    temperature: v.optional(real(0, 2)),
    top_k: v.optional(integer(0, Number.MAX_SAFE_INTEGER)),
    top_p: v.optional(real(0, 1)),
    repetition_penalty: v.optional(real(repetitionBounds.min, repetitionBounds.max)),
    seed: v.optional(seedField()),
  };
  const schema = v.object(entries, "is required");
  return { schema, known: Object.keys(entries), ignored } satisfies BodyFormat<typeof schema>;
}

/** Throws one LorikeetError that names the faults of the body, or those of its parameters. */
function readBody(
  body: unknown,
  { model, task }: Text2TextCall,
  { bounds, sources }: SourceGateway,
): CompletionRequest {
  const schema = v.object(
    {
      inputs: textInputsField(bounds, false),
      parameters: v.optional(objectField("must be an object")),
      options: v.optional(objectField("must be an object")),
      stream: v.optional(flag, false),
    },
    "is required",
  );
  const fields = parse({ schema, known: ["inputs", "parameters", "options", "stream"], ignored: {} }, body);
  const given = parse(parametersFormat(bounds), flattened(fields.parameters ?? {}));
  assert(sources, "only encoder-decoders have these pipelines");
  const asked = { task, sourceLanguage: given.src_lang ?? null, targetLanguage: given.tgt_lang ?? null };
  const { prefix, languageId, firstId, maxTokens: usual } = sourceFormOf(sources, asked);
  const fromLength = given.max_length === undefined ? null : given.max_length - 1;
  const maxTokens = given.max_new_tokens ?? fromLength ?? (usual && Math.min(usual, mostTokens(bounds)));
  const isTruncated = given.truncation === true || (given.truncation !== false && given.truncation !== truncations[0]);
  return {
    kind: "completions",
    params: { model: "model", prompt: "inputs", maxTokens: "max_new_tokens" },
    model,
    adapters: [],
    stream: fields.stream,
    choices: 1,
    prompts: fields.inputs.map((text) => ({
      ...{ kind: "text", text: `${prefix}${text}` },
      ...(languageId !== undefined && { languageId }),
    })),
    echo: false,
    ...(firstId !== undefined && { firstId }),
    maxTokens,
    shortensToFit: false,
    defaultMaxTokens: null,
    minTokens: 0,
    stops: [],
    stopTokenIds: [],
    includesStop: false,
    ignoreEos: false,
    keepsSpecialTokens: false,
    addsSpecialTokens: true,
    truncation: isTruncated ? { tokens: -1, side: "right" } : null,
    logprobs: null,
    promptLogprobs: null,
    returnTokenIds: false,
    grammar: null,
    sampling: {
      temperature: temperatureOf(given),
      topK: given.top_k ?? null,
      topP: given.top_p ?? null,
      minP: null,
      repetitionPenalty: given.repetition_penalty ?? null,
      presencePenalty: null,
      frequencyPenalty: null,
      logitBias: new Map(),
      allowedIds: null,
      seed: given.seed ?? null,
    },
  };
}

/** `generate_parameters` holds parameters of generating, as Hugging Face's specification has them. */
function flattened(parameters: Json): Json {
  const { generate_parameters: inner = null, ...own } = parameters;
  if (inner === null) return own;
  if (isObject(inner)) return { ...inner, ...own };
  throw faultsError([invalid("generate_parameters", `must be an object; found ${describe(inner)}`)]);
}
