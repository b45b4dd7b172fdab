/** Finds a repository in the cache without asking the hub. */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { isObject } from "../base/json.js";
import { RepositoryCache } from "./cache.js";
import type { Kind, Repository } from "./repository.js";
import {
  adapterConfig,
  adapterWeights,
  modelConfig,
  type OnnxChoice,
  onnxNames,
  singleWeights,
  tokenizerFile,
  wantedAmong,
  weightsIndex,
} from "./selection.js";

export interface Cached {
  readonly kind: Kind;
  readonly folder: string;
  /** False if the hub may have a tokenizer, or the files that the model is read from, and the cache lacks them. */
  readonly isWhole: boolean;
}

/** The snapshot that the revision pointed to at the last pull; null if it is missing or incomplete. */
export async function findCached(
  root: string,
  repository: Repository,
  kind: Kind | null,
  onnx: OnnxChoice,
): Promise<Cached | null> {
  const cache = new RepositoryCache(root, repository);
  const commit = await cache.commitOf(repository.revision);
  if (commit === null) return null;
  const folder = cache.snapshot(commit);
  const names = await cache.namesIn(commit);
  if (onnx.file !== null) return await findFile(cache, commit, names, { ...onnx, file: onnx.file });
  const hasOnnx = onnx.choose(onnxNames(names)).length > 0;
  const hasSafetensors = await hasWeights(folder, names);
  if (kind !== "adapter" && names.includes(modelConfig) && (hasOnnx || hasSafetensors)) {
    const hasTokenizer = names.includes(tokenizerFile) || (await cache.isAbsent(commit, tokenizerFile));
    const readsSafetensors = onnx.readsSafetensors(await readJson(join(folder, modelConfig)));
    // A decoder's ONNX files make it only where the hub has no safetensors.
    const hasModel = readsSafetensors ? hasSafetensors || (await lacksSafetensors(cache, commit)) : hasOnnx;
    return { kind: "model", folder, isWhole: hasModel && hasTokenizer };
  }
  const isAdapter = names.includes(adapterConfig) && adapterWeights.some((name) => names.includes(name));
  return kind !== "model" && isAdapter ? { kind: "adapter", folder, isWhole: true } : null;
}

/** The snapshot if it has a servable ONNX file. It is whole with the wanted one, and the others of its model if it is a part. */
async function findFile(
  cache: RepositoryCache,
  commit: string,
  names: readonly string[],
  { served, beside, isPart, file }: OnnxChoice & { readonly file: string },
): Promise<Cached | null> {
  const found = served(onnxNames(names));
  if (!names.includes(modelConfig) || found.length === 0) return null;
  const hasTokenizer = names.includes(tokenizerFile) || (await cache.isAbsent(commit, tokenizerFile));
  const wanted = wantedAmong(found, file);
  const isModel = wanted !== undefined && (!isPart(wanted) || beside(found, wanted).length > 1);
  const isWhole = isModel && hasTokenizer;
  return { kind: "model", folder: cache.snapshot(commit), isWhole };
}

/** Whether the hub is known to have none. Python notes the first name's absence where there are shards. */
async function lacksSafetensors(cache: RepositoryCache, commit: string): Promise<boolean> {
  return (await cache.isAbsent(commit, singleWeights)) && (await cache.isAbsent(commit, weightsIndex));
}

async function hasWeights(folder: string, names: readonly string[]): Promise<boolean> {
  if (names.includes(singleWeights)) return true;
  if (!names.includes(weightsIndex)) return names.filter((name) => /^[^/]*\.safetensors$/.test(name)).length === 1;
  const shards = await shardNames(join(folder, weightsIndex));
  return shards.length > 0 && shards.every((name) => names.includes(name));
}

async function shardNames(path: string): Promise<string[]> {
  const index = await readJson(path);
  const map = isObject(index) ? index.weight_map : null;
  return isObject(map) ? Object.values(map).map(String) : [];
}

async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, "utf8"));
  } catch {
    return null;
  }
}
