/**
 * sentence-transformers' modules.json: how the vectors of a text's tokens become one vector, and the layers that this vector passes after
 * that. Every class comes by the last part of its path, which later versions move.
 */

import { readdir } from "node:fs/promises";
import { isAbsolute, join } from "node:path";
import { LorikeetError } from "../../base/errors.js";
import { isObject, type Json } from "../../base/json.js";
import { readJson } from "../checkpoint/files.js";
import { type ActivationName, activationOf } from "./vector-activations.js";

/** Ways that a graph of the tokens' vectors needs nothing for. */
export const plainPoolings = ["mean", "cls", "max", "last"] as const;
export type PlainPooling = (typeof plainPoolings)[number];

/** How the vectors of a text's tokens become one. */
export type PoolingMode = PlainPooling | "mean_sqrt_len_tokens" | "weightedmean";

/** null: several are joined, or it is another. */
export function plainPooling(modes: readonly PoolingMode[]): PlainPooling | null {
  const [mode, other] = modes;
  return other === undefined ? (plainPoolings.find((name) => name === mode) ?? null) : null;
}

/** A layer of the vector of a text. `folder`: of its weights, below the model's. */
export type VectorLayer =
  | {
      readonly kind: "dense";
      readonly folder: string;
      readonly inFeatures: number;
      readonly outFeatures: number;
      readonly hasBias: boolean;
      readonly activation: ActivationName;
      readonly hasResidual: boolean;
    }
  | { readonly kind: "norm"; readonly folder: string; readonly size: number }
  /** To the length 1. */
  | { readonly kind: "unit" };

export interface SentenceModules {
  /** Several are joined in this order; at least one. */
  readonly pooling: readonly PoolingMode[];
  /** Between pooling and `normalizes`. */
  readonly layers: readonly VectorLayer[];
  /** Whether the vector is scaled to the length 1 at last. */
  readonly normalizes: boolean;
  /** Values of a token's vector; null: not stated. */
  readonly size: number | null;
}

/** A clause that says why not. */
export interface Refusal {
  readonly refusal: string;
}

export const modulesName = "modules.json";

/** `asked`: pools so whatever Pooling says; null: as it says. Throws `model_invalid` for files that cannot be read. */
export async function readSentenceModules(
  folder: string,
  asked: PoolingMode | null = null,
): Promise<SentenceModules | Refusal> {
  const modules = await listedIn(folder);
  if (modules === null || modules.length === 0) return refused("does not list its modules");
  const kinds = modules.map(kindOf);
  const other = kinds.find((kind) => !Object.hasOwn(readers, kind) && kind !== places[0]);
  if (other !== undefined) return refused(`has a layer ${other || "without a type"}`);
  const misplaced = kinds.find(
    (kind, at) => (places[at] ?? kind) !== kind || (at >= places.length && places.includes(kind)),
  );
  if (misplaced !== undefined) return refused(`has a layer ${misplaced} out of place`);
  if (kinds.length < places.length) return refused("has no Pooling");
  let [pooling, size]: [readonly PoolingMode[], number | null] = [[], null];
  const layers: VectorLayer[] = [];
  for (const [at, module] of modules.entries()) {
    const kind = kinds[at] ?? "";
    const read = readers[kind as keyof typeof readers];
    if (!read) continue;
    const path = typeof module.path === "string" ? module.path : "";
    if (!isInside(path)) return refused(`has a layer ${kind} outside the folder`);
    if (path === "" && !optional.includes(kind)) return refused(`has a layer ${kind} without a path`);
    const settings = await settingsOf(folder, path, kind);
    const found = kind === "Pooling" && asked ? { pooling: [asked] } : read(settings, path);
    if ("refusal" in found) return found;
    if ("layers" in found) layers.push(...found.layers);
    else {
      pooling = found.pooling;
      size = [settings.embedding_dimension, settings.word_embedding_dimension].find(isSize) ?? null;
    }
  }
  const normalizes = layers.at(-1)?.kind === "unit";
  return { pooling, size, normalizes, layers: normalizes ? layers.slice(0, -1) : layers };
}

/** The folders of all modules but the transformer, below the model's; none without modules.json. Throws as `readSentenceModules` does. */
export async function moduleFolders(folder: string): Promise<string[]> {
  if (!(await readdir(folder)).includes(modulesName)) return [];
  return ((await listedIn(folder)) ?? []).flatMap((module) => {
    const { path } = module;
    const isFolder = typeof path === "string" && isInside(path) && !/^[./\\]*$/.test(path);
    return isFolder && kindOf(module) !== places[0] ? [path] : [];
  });
}

/** null: the file holds something else. */
async function listedIn(folder: string): Promise<Json[] | null> {
  const json = await readJson(folder, modulesName);
  return Array.isArray(json) && json.every(isObject) ? json : null;
}

/** What comes first. The other layers may come in any order. */
const places: readonly string[] = ["Transformer", "Pooling"];

const kindOf = ({ type }: Json): string => (typeof type === "string" ? (type.split(".").at(-1) ?? "") : "");

/** A path without parts that leave the folder. */
const isInside = (path: string): boolean =>
  !isAbsolute(path) && !path.includes("\0") && !path.split(/[/\\]/).includes("..");

/** Normalize of earlier versions has no settings, and Dropout does nothing here. */
const optional: readonly string[] = ["Normalize", "Dropout"];

async function settingsOf(folder: string, path: string, kind: string): Promise<Json> {
  if (kind === "Dropout" || path === "") return {};
  const names = await readdir(join(folder, path)).catch((): string[] => []);
  if (!names.includes("config.json")) {
    if (optional.includes(kind)) return {};
    const message = `${modulesName} has a layer ${path} without config.json.`;
    throw new LorikeetError("model_invalid", message, { param: modulesName });
  }
  const json = await readJson(join(folder, path), "config.json");
  return isObject(json) ? json : {};
}

type Read = Refusal | { readonly pooling: readonly PoolingMode[] } | { readonly layers: readonly VectorLayer[] };

const readers: Readonly<Record<string, (settings: Json, path: string) => Read>> = {
  Pooling: (settings) => {
    const named = settings.pooling_mode ?? legacyModes(settings);
    const modes = (Array.isArray(named) ? named : [named]).map((mode) => modesByName.get(mode));
    const known = modes.filter((mode) => mode !== undefined);
    if (known.length === modes.length && known.length > 0) return { pooling: known };
    return refused(`pools by ${JSON.stringify(named)}`);
  },
  Dense: (settings, path) => {
    const {
      in_features: inFeatures,
      out_features: outFeatures,
      bias = true,
      use_residual: residual = false,
    } = settings;
    const { activation_function: named = "torch.nn.modules.activation.Tanh" } = settings;
    if (!readsVectors(settings)) return refused(`has a layer ${path} over the vectors of tokens`);
    if (!isSize(inFeatures) || !isSize(outFeatures)) return refused(`has a layer ${path} of unknown size`);
    const activation = activationOf(named);
    if (activation === null) return refused(`has a layer ${path} with the activation ${JSON.stringify(named)}`);
    const flags = { hasBias: bias === true, hasResidual: residual === true };
    return { layers: [{ kind: "dense", folder: path, inFeatures, outFeatures, activation, ...flags }] };
  },
  LayerNorm: ({ dimension: size }, path) =>
    isSize(size) ? { layers: [{ kind: "norm", folder: path, size }] } : refused(`has a layer ${path} of unknown size`),
  Normalize: (settings, path) =>
    readsVectors(settings) ? { layers: [{ kind: "unit" }] } : refused(`has a layer ${path} over the vectors of tokens`),
  Dropout: () => ({ layers: [] }),
};

const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 1;

/** Whether a layer changes the vector of the text in place. */
function readsVectors({ module_input_name: input, module_output_name: output }: Json): boolean {
  const isOurs = (name: unknown): boolean => name === undefined || name === null || name === "sentence_embedding";
  return isOurs(input) && isOurs(output);
}

const modesByName: ReadonlyMap<unknown, PoolingMode> = new Map([
  ["cls", "cls"],
  ["max", "max"],
  ["mean", "mean"],
  ["mean_sqrt_len_tokens", "mean_sqrt_len_tokens"],
  ["weightedmean", "weightedmean"],
  ["lasttoken", "last"],
]);

/** Flags of earlier versions, which are joined in this order whatever the order of the file; the mean without any. */
function legacyModes(settings: Json): readonly unknown[] {
  const chosen = Object.entries(settings).flatMap(([key, value]) =>
    key.startsWith("pooling_mode_") && value === true ? [key.slice("pooling_mode_".length)] : [],
  );
  const known = legacyOrder.filter(([flag]) => chosen.includes(flag)).map(([, mode]) => mode);
  const unknown = chosen.filter((flag) => legacyOrder.every(([name]) => name !== flag));
  return chosen.length === 0 ? ["mean"] : [...known, ...unknown];
}

const legacyOrder = [
  ["cls_token", "cls"],
  ["max_tokens", "max"],
  ["mean_tokens", "mean"],
  ["mean_sqrt_len_tokens", "mean_sqrt_len_tokens"],
  ["weightedmean_tokens", "weightedmean"],
  ["lasttoken", "lasttoken"],
] as const;

const refused = (clause: string): Refusal => ({
  refusal: `${clause} in ${modulesName}; one Transformer, then one Pooling, then any Dense, LayerNorm, Normalize and Dropout are supported`,
});
