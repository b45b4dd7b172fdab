/**
 * Parses a tensor's name, in every spelling found in the wild, into its module and its role there. Knows no base model.
 */

import { at } from "../../base/list.js";
import { type AdapterMethod, feature, type TensorMeaning, unknown } from "./methods/method.js";

export type ParsedKey =
  | (TensorMeaning & {
      readonly kind: "matrix";
      /** The module's path in the trained model, without wrappers. */
      readonly path: string;
    })
  | Exclude<TensorMeaning, { readonly kind: "matrix" }>;

/** Segments that wrappers insert anywhere: torch.compile, FSDP, activation checkpointing. */
const wrappers: ReadonlySet<string> = new Set(["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"]);

const markers = /^(lora_[AB]|lora_[ab]|lora_embedding_[AB]|lora_magnitude_vector|lora_E)$/;
const classifiers: ReadonlySet<string> = new Set(["score", "classifier"]);

/** What the config says about keys. */
export interface KeyContext {
  readonly method: Pick<AdapterMethod, "meaningOf">;
  readonly modulesToSave: readonly string[];
  readonly trainsBias: boolean;
  /** Names of heads and embeddings, whose full weights a file may hold. */
  readonly tableNames: ReadonlySet<string>;
}

export function parseKey(name: string, context: KeyContext): ParsedKey {
  const segments = stripWrappers(name.split("."));
  const place = segments.findIndex((segment) => markers.test(segment));
  if (place < 0) return parsePlain(segments, context);
  const marker = at(segments, place);
  if (marker.startsWith("lora_embedding")) return feature("embedding");
  return withPath(context.method.meaningOf(marker, segments.slice(place + 1)), segments.slice(0, place));
}

const withPath = (meaning: TensorMeaning, segments: readonly string[]): ParsedKey =>
  meaning.kind === "matrix" ? { ...meaning, path: segments.join(".") } : meaning;

/** Removes leading `base_model.model.` and `module.`, however often they occur, and all wrapper segments. */
function stripWrappers(all: readonly string[]): string[] {
  const segments = all.filter((segment) => !wrappers.has(segment));
  let start = 0;
  for (;;) {
    if (segments[start] === "module") start += 1;
    else if (segments[start] === "base_model" && segments[start + 1] === "model") start += 2;
    else return segments.slice(start);
  }
}

function parsePlain(segments: readonly string[], context: KeyContext): ParsedKey {
  if (segments.includes("token_adapter") || segments.includes("trainable_tokens_delta"))
    return feature("trainable_tokens");
  if (segments.includes("modules_to_save")) return feature("modules_to_save");
  if (segments.some((segment) => context.modulesToSave.includes(segment))) return feature("modules_to_save");
  const last = segments.at(-1);
  if (last === "m") return withPath(context.method.meaningOf(last, []), segments.slice(0, -1)); // mlx-lm's magnitudes
  if (last === "bias" && context.trainsBias) return feature("bias");
  const owner = segments.filter((segment) => segment !== "base_layer").at(-2) ?? "";
  const isWhole = context.tableNames.has(owner) || classifiers.has(owner);
  if ((last === "weight" || last === "bias") && isWhole) return feature("modules_to_save");
  return unknown;
}
