/** Finds a repository in the cache without asking the hub. */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { isObject } from "../base/json.js";
import { RepositoryCache } from "./cache.js";
import type { Kind, Repository } from "./repository.js";
import { adapterConfig, adapterWeights, modelConfig, singleWeights, tokenizerFile, weightsIndex } from "./selection.js";

export interface Cached {
  readonly kind: Kind;
  readonly folder: string;
  /** False if the hub may have a tokenizer that the cache lacks. The model is still usable. */
  readonly isWhole: boolean;
}

/** The snapshot that the revision pointed to at the last pull; null if it is missing or incomplete. */
export async function findCached(root: string, repository: Repository, kind: Kind | null): Promise<Cached | null> {
  const cache = new RepositoryCache(root, repository);
  const commit = await cache.commitOf(repository.revision);
  if (commit === null) return null;
  const folder = cache.snapshot(commit);
  const names = await cache.namesIn(commit);
  if (kind !== "adapter" && names.includes(modelConfig) && (await hasWeights(folder, names))) {
    const isWhole = names.includes(tokenizerFile) || (await cache.isAbsent(commit, tokenizerFile));
    return { kind: "model", folder, isWhole };
  }
  const isAdapter = names.includes(adapterConfig) && adapterWeights.some((name) => names.includes(name));
  return kind !== "model" && isAdapter ? { kind: "adapter", folder, isWhole: true } : null;
}

async function hasWeights(folder: string, names: readonly string[]): Promise<boolean> {
  if (names.includes(singleWeights)) return true;
  if (!names.includes(weightsIndex)) return names.filter((name) => name.endsWith(".safetensors")).length === 1;
  const shards = await shardNames(join(folder, weightsIndex));
  return shards.length > 0 && shards.every((name) => names.includes(name));
}

async function shardNames(path: string): Promise<string[]> {
  try {
    const index: unknown = JSON.parse(await readFile(path, "utf8"));
    const map = isObject(index) ? index.weight_map : null;
    return isObject(map) ? Object.values(map).map(String) : [];
  } catch {
    return [];
  }
}
