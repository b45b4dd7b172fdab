/** What a text model's configuration says about its outputs: names of labels, how scores are made, and how a text becomes one vector. */

import { isObject, type Json } from "../../base/json.js";
import type { Graph } from "../../graph/types.js";
import { readJson } from "../checkpoint/files.js";
import type { Manifest } from "./manifest.js";
import {
  modulesName,
  type PoolingMode,
  type Refusal,
  readSentenceModules,
  type SentenceModules,
  type VectorLayer,
} from "./sentence-modules.js";
import { tokenOutputs, vectorOutput } from "./vector-graph.js";

export interface TextHead {
  /** By index; null if config.json names none. */
  readonly labels: readonly string[] | null;
  /** Whether labels exclude one another: scores of two or more are a softmax. Otherwise, and of a head with one output, each is a sigmoid. */
  readonly isExclusive: boolean;
  /** How the vectors of tokens become one; several are joined. A clause that says why not, for what is not computed. */
  readonly pooling: readonly PoolingMode[] | Refusal;
  /** After pooling. */
  readonly layers: readonly VectorLayer[];
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
  /** The model's output is the vector of a text: what modules.json has need not be computed. */
  readonly isWhole?: boolean;
}

/** Reads config.json, and modules.json of sentence-transformers. */
export async function readTextHead(
  folder: string,
  names: readonly string[],
  { usual = "mean", asked = null, manifest = {}, isWhole = false }: HeadOptions = {},
): Promise<TextHead> {
  const json = names.includes("config.json") ? await readJson(folder, "config.json") : {};
  const config: Json = isObject(json) ? json : {};
  const labels = manifest.labels ?? labelsOf(config.id2label) ?? timmLabelsOf(config);
  const isExclusive = config.problem_type !== "multi_label_classification";
  const mode = asked ?? manifest.pooling ?? null;
  const found = await readVectors(folder, names, mode);
  const prompt = mode === null && found !== null ? await defaultPrompt(folder, names) : null;
  const modules = found === null || "refusal" in found ? null : found;
  const pooling = modules ? modules.pooling : [mode ?? usual];
  const refusal = found !== null && "refusal" in found && !isWhole ? found : null;
  return {
    ...{ labels, isExclusive, layers: modules?.layers ?? [] },
    pooling: refusal ?? (prompt === null ? pooling : { refusal: promptRefusal(prompt) }),
    normalizes: manifest.normalize ?? modules?.normalizes ?? true,
  };
}

/** null: the folder has no modules.json. `asked` as `readSentenceModules` has it. */
export const readVectors = async (
  folder: string,
  names: readonly string[],
  asked: PoolingMode | null,
): Promise<SentenceModules | Refusal | null> =>
  names.includes(modulesName) ? await readSentenceModules(folder, asked) : null;

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

/** Whether pooling applies: the model reads text and returns a vector for each token, not one for the whole text. */
export function poolsTexts({ inputs, outputs }: Pick<Graph, "inputs" | "outputs">): boolean {
  const names = outputs.map(({ name }) => name);
  const reads = inputs.some(({ name }) => name === "input_ids");
  return reads && !names.includes(vectorOutput) && tokenOutputs.some((name) => names.includes(name));
}

/** What `--pooling` may say. */
export const askablePoolings = ["last", "mean"] as const satisfies readonly PoolingMode[];
