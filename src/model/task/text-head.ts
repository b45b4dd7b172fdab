/** What a text model's configuration says about its outputs: names of labels, how scores are made, and how a text becomes one vector. */

import { join } from "node:path";
import { isObject, type Json } from "../../base/json.js";
import type { Graph } from "../../graph/types.js";
import { readJson } from "../checkpoint/files.js";
import type { Manifest } from "./manifest.js";

/** How the vectors of a text's tokens become one. */
export type PoolingMode = "mean" | "cls" | "max" | "last";

export interface TextHead {
  /** By index; null if config.json names none. */
  readonly labels: readonly string[] | null;
  /** Whether labels exclude one another: scores of two or more are a softmax. Otherwise, and of a head with one output, each is a sigmoid. */
  readonly isExclusive: boolean;
  /** A clause that says why not, for what is not computed. */
  readonly pooling: PoolingMode | { readonly refusal: string };
  /** Whether vectors are scaled to the length 1. */
  readonly normalizes: boolean;
}

export interface HeadOptions {
  /** How a model without modules.json is pooled. */
  readonly usual?: PoolingMode;
  /** How this one is pooled, whatever the files say. */
  readonly asked?: PoolingMode | null;
  /** Goes before the other files. */
  readonly manifest?: Pick<Manifest, "labels" | "pooling" | "normalize">;
}

/** Reads config.json, and modules.json of sentence-transformers. */
export async function readTextHead(
  folder: string,
  names: readonly string[],
  { usual = "mean", asked = null, manifest = {} }: HeadOptions = {},
): Promise<TextHead> {
  const json = names.includes("config.json") ? await readJson(folder, "config.json") : {};
  const config: Json = isObject(json) ? json : {};
  const labels = manifest.labels ?? labelsOf(config.id2label) ?? timmLabelsOf(config);
  const isExclusive = config.problem_type !== "multi_label_classification";
  const { pooling, normalizes } = await readPooling(folder, names, usual);
  return {
    ...{ labels, isExclusive },
    pooling: asked ?? manifest.pooling ?? pooling,
    normalizes: manifest.normalize ?? normalizes,
  };
}

function labelsOf(value: unknown): readonly string[] | null {
  if (!isObject(value)) return null;
  const count = Object.keys(value).length;
  const labels = Array.from({ length: count }, (_, index) => value[index]);
  return labels.every((label) => typeof label === "string") ? labels : null;
}

function timmLabelsOf({ label_names: own, pretrained_cfg: settings }: Json): readonly string[] | null {
  const names = own ?? (isObject(settings) ? settings.label_names : null);
  return Array.isArray(names) && names.every((name) => typeof name === "string") ? names : null;
}

const modes: Readonly<Record<string, PoolingMode>> = {
  pooling_mode_mean_tokens: "mean",
  pooling_mode_cls_token: "cls",
  pooling_mode_max_tokens: "max",
  pooling_mode_lasttoken: "last",
};

async function readPooling(
  folder: string,
  names: readonly string[],
  usual: PoolingMode,
): Promise<Pick<TextHead, "pooling" | "normalizes">> {
  if (!names.includes("modules.json")) return { pooling: usual, normalizes: true };
  const modules = await readJson(folder, "modules.json");
  const layers = Array.isArray(modules) ? modules.filter(isObject) : [];
  const kinds = layers.map(({ type }) => (typeof type === "string" ? (type.split(".").at(-1) ?? "") : ""));
  const normalizes = kinds.includes("Normalize");
  const other = kinds.find((kind) => !["Transformer", "Pooling", "Normalize"].includes(kind));
  if (other !== undefined) return { normalizes, pooling: refused(`has a layer ${other || "without a type"}`) };
  const path = layers[kinds.indexOf("Pooling")]?.path;
  const json = typeof path === "string" ? await readJson(join(folder, path), "config.json") : {};
  const chosen = Object.entries(isObject(json) ? json : {}).flatMap(([key, value]) =>
    key.startsWith("pooling_mode_") && value === true ? [key] : [],
  );
  const [mode = "mean", ...more] = chosen.map((key) => modes[key] ?? null);
  if (mode === null || more.length > 0) return { normalizes, pooling: refused(`pools by ${chosen.join(" and ")}`) };
  const prompt = await defaultPrompt(folder, names);
  if (prompt !== null) return { normalizes, pooling: { refusal: promptRefusal(prompt) } };
  return { normalizes, pooling: mode };
}

const settingsName = "config_sentence_transformers.json";

/** What sentence-transformers puts in front of every text; null: nothing. */
async function defaultPrompt(folder: string, names: readonly string[]): Promise<string | null> {
  const json = names.includes(settingsName) ? await readJson(folder, settingsName) : {};
  const { default_prompt_name: name, prompts }: Json = isObject(json) ? json : {};
  const prompt = typeof name === "string" && isObject(prompts) ? prompts[name] : null;
  return typeof prompt === "string" && prompt !== "" ? prompt : null;
}

const promptRefusal = (prompt: string): string =>
  `has a default prompt, ${JSON.stringify(prompt.slice(0, 64))}, in ${settingsName}, which is not put in front of texts; with a "pooling" in lorikeet.json, clients put it there`;

/** Outputs that hold a vector for each token of a text. */
const tokenOutputs = ["last_hidden_state", "token_embeddings"];

/** Whether pooling applies: the model reads text and returns a vector for each token, not one for the whole text. */
export function poolsTexts({ inputs, outputs }: Pick<Graph, "inputs" | "outputs">): boolean {
  const names = outputs.map(({ name }) => name);
  const reads = inputs.some(({ name }) => name === "input_ids");
  return reads && !names.includes("sentence_embedding") && tokenOutputs.some((name) => names.includes(name));
}

/** What `--pooling` may say. */
export const askablePoolings = ["last", "mean"] as const satisfies readonly PoolingMode[];

const refused = (clause: string) => ({
  refusal: `${clause} in modules.json; Transformer, Pooling (mean, cls, max or last token) and Normalize are computed`,
});
