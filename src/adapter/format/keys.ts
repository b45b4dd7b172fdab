/**
 * Parses a tensor's name, in every spelling found in the wild, into its module and its role there. Knows no base model.
 */

import { at } from "../../base/list.js";
import type { Feature } from "./features.js";
import { type AdapterMethod, matrix, type TensorMeaning, unknown } from "./methods/method.js";

export type ParsedKey =
  | (TensorMeaning & {
      readonly kind: "matrix";
      /** The module's path in the trained model, without wrappers. */
      readonly path: string;
      /** LoRA on a table of embeddings. */
      readonly isTable: boolean;
    })
  | SavedKey
  /** Trained rows of a table or of a head: `trainable_token_indices`. */
  | { readonly kind: "tokens"; readonly path: string }
  /** What PEFT saves and does not use: with `bias="all"`, a bias of the layer that a module saved whole replaces. */
  | { readonly kind: "unused" }
  /** Another tensor of a module that is saved whole, such as statistics. */
  | { readonly kind: "buffer" }
  /** The bias of a layer, though the config says that none was trained. */
  | { readonly kind: "untrained" }
  | Exclude<TensorMeaning, { readonly kind: "matrix" }>;

/** A module's own tensor, saved with the adapter. */
export interface SavedKey {
  readonly kind: "saved";
  readonly path: string;
  readonly part: "weight" | "bias";
  /** Why it is in the file: the module is saved whole, its bias was trained, or it is a copy of the base's. */
  readonly as: "whole" | "bias" | "copy";
  /** Whether it may repeat the bias of a module that is saved whole, as PEFT writes it with `bias="all"`. */
  readonly isRepeat: boolean;
  /** For bases that do not take it. null: every base does. */
  readonly feature: Feature | null;
}

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
  const [path, rest] = [segments.slice(0, place), segments.slice(place + 1)];
  if (!marker.startsWith("lora_embedding")) return withPath(context.method.meaningOf(marker, rest), path);
  // A bare parameter: followed by nothing or by the adapter's name.
  return rest.length > 1 ? unknown : withPath(matrix(marker.endsWith("A") ? "A" : "B"), path, true);
}

const withPath = (meaning: TensorMeaning, segments: readonly string[], isTable = false): ParsedKey =>
  meaning.kind === "matrix" ? { ...meaning, path: segments.join("."), isTable } : meaning;

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

function parsePlain(all: readonly string[], context: KeyContext): ParsedKey {
  const rows = all.indexOf("trainable_tokens_delta");
  if (rows >= 0) return rows < all.length - 2 ? unknown : { kind: "tokens", path: tablePath(all.slice(0, rows)) };
  const isCopy = all.some((segment) => copies.has(segment));
  const segments = withoutSaving(all.filter((segment) => !copies.has(segment) && segment !== tokenAdapter));
  const last = segments.at(-1);
  if (segments.includes("lora_velora_embed")) return { kind: "unused" }; // of VeLoRA's gradients
  if (last === "m") return withPath(context.method.meaningOf(last, []), segments.slice(0, -1)); // mlx-lm's magnitudes
  const path = segments.slice(0, -1).join(".");
  const isMarked = all.includes("modules_to_save");
  const isWhole = isMarked || savesModule(context.modulesToSave, path);
  const saved = { kind: "saved", path } as const;
  const whole = { as: "whole", feature: "modules_to_save" } as const;
  if (last === "bias" && context.trainsBias) {
    if (all.includes("original_module")) return { kind: "unused" };
    return { ...saved, part: last, ...(isWhole ? whole : { as: "bias", feature: null }), isRepeat: isMarked };
  }
  const isAny = isWhole || isCopy || isHead(path, context);
  if (!isAny) return last === "bias" ? { kind: "untrained" } : unknown;
  if (last !== "weight" && last !== "bias") return { kind: "buffer" };
  return { ...saved, part: last, ...whole, ...(isCopy && { as: "copy" }), isRepeat: false };
}

/** PEFT's name for what it puts around a table with trained rows. */
const tokenAdapter = "token_adapter";

/** Around a head that LoRA adapts as well, it lies below that adapter. */
const tablePath = (segments: readonly string[]): string =>
  segments.filter((segment) => segment !== tokenAdapter && !copies.has(segment)).join(".");

/** PEFT's names for a base's own layer below an adapter, and below a module that is saved whole. */
const copies: ReadonlySet<string> = new Set(["base_layer", "original_module"]);

function isHead(path: string, { tableNames }: KeyContext): boolean {
  const owner = path.slice(path.lastIndexOf(".") + 1);
  return tableNames.has(owner) || classifiers.has(owner);
}

/** Removes `modules_to_save` and the adapter's name after it. */
function withoutSaving(segments: readonly string[]): readonly string[] {
  const place = segments.indexOf("modules_to_save");
  if (place < 0) return segments;
  const rest = segments.slice(place + 1);
  const isNamed = rest.length > 1 && !/^\d+$/.test(at(rest, 0));
  return [...segments.slice(0, place), ...(isNamed ? rest.slice(1) : rest)];
}

/** Whether `modules_to_save` names a module or one around it. PEFT compares the ends of names: `classifier` names `pre_classifier`, too. */
export function savesModule(modulesToSave: readonly string[], path: string): boolean {
  for (let end = path.length; end > 0; end = path.lastIndexOf(".", end - 1)) {
    const name = path.slice(0, end);
    if (modulesToSave.some((saved) => saved !== "" && name.endsWith(saved))) return true;
  }
  return false;
}
