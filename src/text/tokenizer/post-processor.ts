/**
 * The special tokens that a tokenizer.json puts around the ids of a text.
 */

import { LorikeetError } from "../../base/errors.js";
import type { Json } from "../../base/json.js";
import { asList, asRecord, asString } from "../json.js";

/** Puts special tokens around the ids of one text. */
export type PostProcess = (ids: readonly number[]) => number[];

const supported = ["BertProcessing", "ByteLevel", "RobertaProcessing", "Sequence", "TemplateProcessing"];

/** @throws LorikeetError `model_unsupported` for an unknown kind, `model_invalid` for an invalid config. */
export function createPostProcessor(config: Json | null): PostProcess {
  if (config === null) return (ids) => [...ids];
  switch (config.type) {
    case "ByteLevel": // only changes offsets
      return (ids) => [...ids];
    case "Sequence": {
      const steps = asList(config.processors).map((part) => createPostProcessor(asRecord(part)));
      return (ids) => steps.reduce<number[]>((all, step) => step(all), [...ids]);
    }
    case "BertProcessing":
    case "RobertaProcessing": {
      const [first, last] = [idOfPair(config, "cls"), idOfPair(config, "sep")];
      return (ids) => [first, ...ids, last];
    }
    case "TemplateProcessing":
      return template(config);
  }
  throw new LorikeetError(
    "model_unsupported",
    `The post-processor in tokenizer.json is ${JSON.stringify(config.type)}, which is not supported. Supported are ${supported.join(", ")}.`,
    { param: "tokenizer.json", found: config.type, allowed: supported },
  );
}

const invalid = (fault: string): LorikeetError =>
  new LorikeetError("model_invalid", `The tokenizer cannot be used: ${fault}.`, { param: "tokenizer.json" });

/** `["[CLS]", 101]` */
function idOfPair(config: Json, name: string): number {
  const id = asList(config[name])[1];
  if (typeof id === "number") return id;
  throw invalid(`its post-processor has no token and id named "${name}"`);
}

function template(config: Json): PostProcess {
  const specials = asRecord(config.special_tokens) ?? {};
  const pieces = asList(config.single).map((piece): readonly number[] | "text" => {
    if (asRecord(asRecord(piece)?.Sequence)) return "text";
    const name = asString(asRecord(asRecord(piece)?.SpecialToken)?.id);
    const ids: readonly unknown[] = name === null ? [] : asList(asRecord(specials[name])?.ids);
    if (ids.length > 0 && ids.every((id) => typeof id === "number")) return ids;
    throw invalid(`its post-processor's template names ${JSON.stringify(name)}, which its special tokens lack`);
  });
  return (ids) => {
    const all: number[] = [];
    for (const piece of pieces) for (const id of piece === "text" ? ids : piece) all.push(id);
    return all;
  };
}
