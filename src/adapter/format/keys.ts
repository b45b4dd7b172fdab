/**
 * What a tensor's name says: which module it belongs to and what it is there, through every spelling found in the wild.
 * Knows no base model.
 */

import type { PeftMethod } from "./canonical.js";
import type { Feature } from "./features.js";

export type Role = "A" | "B" | "E" | "M";

export type ParsedKey =
  | {
      readonly kind: "matrix";
      /** E: AdaLoRA's singular values; M: DoRA's magnitudes. */
      readonly role: Role;
      /** The module's path in the model that was trained, without wrappers. */
      readonly path: string;
      /** mlx-lm's layout: A [in, r], B [r, out]. */
      readonly transposed: boolean;
    }
  | { readonly kind: "feature"; readonly feature: Feature }
  | { readonly kind: "unknown" };

const unknown: ParsedKey = { kind: "unknown" };
const feature = (name: Feature): ParsedKey => ({ kind: "feature", feature: name });

/** Segments that wrappers put anywhere: torch.compile, FSDP, activation checkpointing. */
const wrappers: ReadonlySet<string> = new Set(["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"]);

const markers = /^(lora_[AB]|lora_[ab]|lora_embedding_[AB]|lora_magnitude_vector|lora_E)$/;
const wholeModules = /^(embed_tokens|wte|wpe|lm_head|score|classifier)$/;

/** Of the config: they tell what a key may be. */
export interface KeyContext {
  readonly method: PeftMethod;
  readonly dora: boolean;
  readonly modulesToSave: readonly string[];
  readonly trainsBias: boolean;
}

export function parseKey(name: string, context: KeyContext): ParsedKey {
  const segments = stripWrappers(name.split("."));
  const at = segments.findIndex((segment) => markers.test(segment));
  if (at < 0) return parsePlain(segments, context);
  const marker = segments[at] ?? "";
  if (marker.startsWith("lora_embedding")) return feature("embedding");
  const path = segments.slice(0, at).join(".");
  const rest = segments.slice(at + 1);
  if (marker === "lora_magnitude_vector") return context.dora ? parseMagnitude(path, rest) : feature("dora");
  if (context.method === "ADALORA") return parseAdaLora(marker, path, rest);
  if (marker === "lora_E") return feature("adalora");
  if (marker === "lora_a" || marker === "lora_b") {
    if (rest.length > 0) return unknown;
    return { kind: "matrix", role: marker === "lora_a" ? "A" : "B", path, transposed: true };
  }
  if (rest.length > 2 || rest.length === 0) return unknown; // `weight`, or the adapter's name and `weight`
  const last = rest.at(-1);
  if (last === "bias" && marker === "lora_B") return feature("lora_bias");
  if (last !== "weight") return unknown;
  return { kind: "matrix", role: marker === "lora_A" ? "A" : "B", path, transposed: false };
}

/** A bare parameter, or one of a module: nothing, the adapter's name, `weight` or both follow the marker. */
function parseMagnitude(path: string, rest: readonly string[]): ParsedKey {
  if (rest.length > 2 || (rest.length === 2 && rest[1] !== "weight")) return unknown;
  return { kind: "matrix", role: "M", path, transposed: false };
}

/** AdaLoRA's are bare parameters: nothing, or the adapter's name, follows the marker. */
function parseAdaLora(marker: string, path: string, rest: readonly string[]): ParsedKey {
  const role = { lora_A: "A", lora_B: "B", lora_E: "E" }[marker];
  if (rest.length > 1 || (role !== "A" && role !== "B" && role !== "E")) return unknown;
  return { kind: "matrix", role, path, transposed: false };
}

/** Takes off `base_model.model.` and `module.`, however often they lead, and the wrappers' segments. */
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
  if (last === "m") return context.dora ? parseMagnitude(segments.slice(0, -1).join("."), []) : feature("dora"); // mlx-lm's
  if (last === "bias" && context.trainsBias) return feature("bias");
  const owner = segments.filter((segment) => segment !== "base_layer").at(-2) ?? "";
  if ((last === "weight" || last === "bias") && wholeModules.test(owner)) return feature("modules_to_save");
  return unknown;
}
