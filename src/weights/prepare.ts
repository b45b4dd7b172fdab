/**
 * Converts a checkpoint's weights to the forms of a plan, once, and says where the bytes lie. Coordinates the plan, the
 * conversion threads and the cache.
 */

import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { availableParallelism } from "node:os";
import type { Progress } from "../base/log.js";
import type { Checkpoint } from "../model/types.js";
import type { PreparedWeight } from "../model/weights.js";
import { WeightCache } from "./cache/cache.js";
import { WeightContents } from "./cache/contents.js";
import {
  addResult,
  formatVersion,
  longestMetadata,
  type Outcome,
  placeOf,
  readPrepared,
  referenceOf,
  writeHeader,
} from "./convert/file.js";
import { runTasks } from "./convert/pool.js";
import { type ConvertTask, tasksOf } from "./convert/task.js";
import { isReferenced, type Layout, layOut, resolveWeight, type Weight } from "./layout.js";
import type { WeightPlan } from "./plan.js";

export interface PreparedWeights {
  readonly weights: ReadonlyMap<string, PreparedWeight>;
  /** The cache's file; null if the checkpoint's bytes are used for everything. */
  readonly file: string | null;
  /** Whether nothing had to be converted. */
  readonly cached: boolean;
  /** The size of all weights, including referenced ones. */
  readonly bytes: number;
  /** Lets the cache remove the file. Call only after every session that uses it is disposed. Idempotent. */
  close(): Promise<void>;
}

export interface PrepareOptions {
  /** Default `$XDG_CACHE_HOME/lorikeet`, or `~/.cache/lorikeet`. */
  readonly cacheDirectory?: string;
  /** The largest total size of the cache folder, in bytes. Default 64 GiB. */
  readonly cacheBytes?: number;
  /** Called with the number of parameters converted and the total. */
  readonly progress?: Progress;
  /** Conversion threads. Default: the number of cores. */
  readonly threads?: number;
  readonly signal?: AbortSignal;
}

/**
 * Prepares every weight of the plan. Throws `model_invalid` for weights that cannot be converted, `store_full` if the cache has
 * no room, `invalid_value` if its folder cannot be written, `cancelled` if the signal aborts.
 */
export async function prepareWeights(
  checkpoint: Pick<Checkpoint, "tensors">,
  plan: WeightPlan,
  options: PrepareOptions = {},
): Promise<PreparedWeights> {
  const weights = [...plan].map(([name, entry]) => resolveWeight(name, entry, checkpoint.tensors));
  const referenced = weights.filter(isReferenced).map(referenceOf);
  const converted = weights.filter((weight) => !isReferenced(weight));
  if (converted.length === 0) return collect(weights, referenced, { file: null, cached: true, close: async () => {} });

  const { cacheDirectory: directory, cacheBytes: maxBytes } = options;
  const cache = await WeightCache.open({
    ...(directory === undefined ? {} : { directory }),
    ...(maxBytes === undefined ? {} : { maxBytes }),
  });
  const contents = await WeightContents.open(cache.directory);
  const key = keyOf(await readSources(converted, contents, options), plan);
  const layout = layOut(converted, longestMetadata(key, converted));
  const entry = await cache.obtain({
    key,
    bytes: layout.fileBytes,
    verify: (file) => readPrepared(file, key, converted),
    fill: (file) => convertInto(file, key, converted, layout, options),
  });
  await contents.save();
  const { file, found: cached, release: close } = entry;
  return collect(weights, [...referenced, ...entry.value], { file, cached, close });
}

function collect(
  order: readonly Weight[],
  prepared: readonly PreparedWeight[],
  rest: Pick<PreparedWeights, "file" | "cached" | "close">,
): PreparedWeights {
  const byName = new Map(prepared.map((weight) => [weight.name, weight]));
  const weights = new Map<string, PreparedWeight>();
  for (const { name } of order) {
    const weight = byName.get(name);
    if (weight) weights.set(name, weight);
  }
  const bytes = prepared.reduce((sum, weight) => sum + weight.bytes, 0);
  return { weights, bytes, ...rest };
}

/** Identifies every source by content, not by path: the digest of its file and its place in it. */
async function readSources(
  weights: readonly Weight[],
  contents: WeightContents,
  { progress, signal }: PrepareOptions,
): Promise<readonly unknown[]> {
  const tensors = weights.flatMap(({ sources }) => sources);
  const digests = new Map<string, string>();
  const files = [...new Set(tensors.map(({ file }) => file))];
  const sizes = await Promise.all(files.map(async (file) => (await stat(file).catch(() => null))?.size ?? 0));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  let done = 0;
  const onBytes = (bytes: number): void => {
    if (done === 0) progress?.("reading weights", 0, total);
    done += bytes;
    progress?.("reading weights", done, total);
  };
  for (const file of files) digests.set(file, await contents.digest(file, { onBytes, signal }));
  return tensors.map(({ file, dtype, shape, offset }) => [digests.get(file), dtype, shape, offset]);
}

/** All that the result depends on: the weights' content, the plan in its order, and the version of the conversion. */
function keyOf(sources: readonly unknown[], plan: WeightPlan): string {
  const content = [...plan].map(([name, entry]) => {
    const { form, sources = [name], transposed = false, maxRowError = null, rowLimit = null, rounded } = entry;
    const own = [name, form, sources, transposed, maxRowError, rowLimit, ...(entry.halfScales ? ["F16"] : [])];
    return rounded ? [...own, rounded.form, rounded.rowLimit] : own;
  });
  return createHash("sha256")
    .update(JSON.stringify([formatVersion, sources, content]))
    .digest("hex");
}

async function convertInto(
  file: string,
  key: string,
  weights: readonly Weight[],
  layout: Layout,
  options: PrepareOptions,
): Promise<void> {
  const { progress, signal, threads = availableParallelism() } = options;
  const tasks = weights.flatMap((weight) => tasksOf(weight, placeOf(layout, weight)));
  const size = ({ rows, columns }: ConvertTask): number => rows * columns;
  const total = tasks.reduce((sum, task) => sum + size(task), 0);
  const outcomes = new Map<string, Outcome>();
  let done = 0;
  progress?.("preparing weights", done, total);
  await runTasks(file, tasks, {
    threads,
    signal,
    onResult(result, task) {
      outcomes.set(result.weight, addResult(outcomes.get(result.weight), result));
      done += size(task);
      progress?.("preparing weights", done, total);
    },
  });
  await writeHeader(file, key, weights, layout, outcomes);
}
