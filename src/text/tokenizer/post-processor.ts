/** What a tokenizer.json puts around the ids of a text, or of a pair of texts. */

import { LorikeetError } from "../../base/errors.js";
import type { Json } from "../../base/json.js";
import { asList, asRecord, asString } from "../json.js";

/** A part of a row: special tokens, or one of its texts. */
export type RowPart =
  | { readonly kind: "special"; readonly ids: readonly number[]; readonly typeId: number }
  | { readonly kind: "text"; readonly source: 0 | 1; readonly typeId: number };

export interface PostProcessor {
  readonly single: readonly RowPart[];
  /** null if the file does not say how a pair is joined. */
  readonly pair: readonly RowPart[] | null;
  /** Whether spans leave out the white space of their tokens, but for one space in front of the text that encoding put there. */
  readonly trim: { readonly keepsFirstSpace: boolean } | null;
}

/** Puts special tokens around the ids of one text. */
export type PostProcess = (ids: readonly number[]) => number[];

const supported = ["BertProcessing", "ByteLevel", "RobertaProcessing", "Sequence", "TemplateProcessing"];

const textPart = (source: 0 | 1, typeId: number): RowPart => ({ kind: "text", source, typeId });
const specialPart = (typeId: number, ...ids: readonly number[]): RowPart => ({ kind: "special", ids, typeId });

const nothing: PostProcessor = { single: [textPart(0, 0)], pair: [textPart(0, 0), textPart(1, 1)], trim: null };

/** @throws LorikeetError `model_unsupported` for an unknown kind, `model_invalid` for an invalid config. */
export function createPostProcess(config: Json | null): PostProcess {
  const { single } = readPostProcessor(config);
  return (ids) => {
    const all: number[] = [];
    for (const part of single) for (const id of part.kind === "text" ? ids : part.ids) all.push(id);
    return all;
  };
}

/** @throws LorikeetError `model_unsupported` for an unknown kind, `model_invalid` for an invalid config. */
export function readPostProcessor(config: Json | null): PostProcessor {
  if (config === null) return nothing;
  switch (config.type) {
    case "ByteLevel":
      return { ...nothing, trim: trimOf(config) };
    case "Sequence":
      return inOrder(asList(config.processors).map((part) => readPostProcessor(asRecord(part))));
    case "BertProcessing":
    case "RobertaProcessing":
      return config.type === "BertProcessing" ? bert(config) : roberta(config);
    case "TemplateProcessing":
      return {
        single: template(config, "single"),
        pair: config.pair === undefined ? null : template(config, "pair"),
        trim: null,
      };
  }
  throw new LorikeetError(
    "model_unsupported",
    `The post-processor in tokenizer.json is ${JSON.stringify(config.type)}, which is not supported. Supported are ${supported.join(", ")}.`,
    { param: "tokenizer.json", found: config.type, allowed: supported },
  );
}

const invalid = (fault: string): LorikeetError =>
  new LorikeetError("model_invalid", `The tokenizer cannot be used: ${fault}.`, { param: "tokenizer.json" });

const trimOf = (config: Json): PostProcessor["trim"] =>
  config.trim_offsets === false ? null : { keepsFirstSpace: config.add_prefix_space !== false };

function bert(config: Json): PostProcessor {
  const [cls, sep] = [idOfPair(config, "cls"), idOfPair(config, "sep")];
  const single = [specialPart(0, cls), textPart(0, 0), specialPart(0, sep)];
  return { single, pair: [...single, textPart(1, 1), specialPart(1, sep)], trim: null };
}

function roberta(config: Json): PostProcessor {
  const [cls, sep] = [idOfPair(config, "cls"), idOfPair(config, "sep")];
  const single = [specialPart(0, cls), textPart(0, 0), specialPart(0, sep)];
  return { single, pair: [...single, specialPart(0, sep), textPart(1, 0), specialPart(0, sep)], trim: trimOf(config) };
}

/** `["[CLS]", 101]` */
function idOfPair(config: Json, name: string): number {
  const id = asList(config[name])[1];
  if (typeof id === "number") return id;
  throw invalid(`its post-processor has no token and id named "${name}"`);
}

/** Each puts its special tokens around what the one before made. */
function inOrder(steps: readonly PostProcessor[]): PostProcessor {
  const single = steps.reduce<readonly RowPart[]>(
    (inner, step) => step.single.flatMap((part) => (part.kind === "special" ? [part] : inner)),
    nothing.single,
  );
  const [framing = nothing, ...others] = steps.filter((step) => step.single.length > 1);
  return {
    single,
    pair: others.length === 0 ? framing.pair : null,
    trim: steps.find(({ trim }) => trim !== null)?.trim ?? null,
  };
}

function template(config: Json, name: "single" | "pair"): RowPart[] {
  const specials = asRecord(config.special_tokens) ?? {};
  return asList(config[name]).map((each) => {
    const piece = asRecord(each);
    const sequence = asRecord(piece?.Sequence);
    const special = asRecord(piece?.SpecialToken);
    const { type_id: type } = sequence ?? special ?? {};
    const typeId = typeof type === "number" ? type : 0;
    if (sequence) return textPart(sequence.id === "B" ? 1 : 0, typeId);
    const id = asString(special?.id);
    const ids: readonly unknown[] = id === null ? [] : asList(asRecord(specials[id])?.ids);
    if (ids.length > 0 && ids.every((one) => typeof one === "number")) return specialPart(typeId, ...ids);
    throw invalid(`its post-processor's template names ${JSON.stringify(id)}, which its special tokens lack`);
  });
}
