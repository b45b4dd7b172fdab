/**
 * The model and adapters of a benchmark, created once in the cache folder: a random model with a tokenizer of made-up words, and
 * random adapters as PEFT folders. Each folder appears atomically, by a rename.
 */

import { mkdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Progress } from "../base/log.js";
import { openCheckpoint } from "../model/checkpoint/open.js";
import { writeRandomCheckpoint } from "../model/random.js";
import { writeRandomAdapter } from "./random-adapter.js";
import { type BenchShape, shapeConfig } from "./shapes.js";

export interface Materials {
  /** A model in Hugging Face layout. */
  readonly model: string;
  /** A folder of `adapterNames.length` PEFT folders. */
  readonly adapters: string;
  readonly adapterNames: readonly string[];
}

/** One more than the rows of a step: in rotation, the next adapter is never in the active set. */
const adapterCount = 17;
export const folderRank = 16;

/** Increased when the content changes. */
const version = 1;

/** Prepares the model and the adapters of a shape. */
export async function prepareMaterials(
  cacheDirectory: string,
  shape: BenchShape,
  progress?: Progress,
): Promise<Materials> {
  const model = await prepareModel(cacheDirectory, shape, progress);
  const adapters = join(model, "..", "adapters");
  const { config } = await openCheckpoint(model);
  const adapterNames = Array.from({ length: adapterCount }, (_, i) => `random-${String(i).padStart(2, "0")}`);
  for (const [i, name] of adapterNames.entries()) {
    progress?.("creating random adapters", i, adapterCount);
    await createOnce(join(adapters, name), (folder) => writeRandomAdapter(folder, config, folderRank, i));
  }
  return { model, adapters, adapterNames };
}

/** Prepares only the random model. Returns its folder. */
export async function prepareModel(cacheDirectory: string, shape: BenchShape, progress?: Progress): Promise<string> {
  const model = join(cacheDirectory, "bench", `${shape}.${version}`, "model");
  await createOnce(model, async (folder) => {
    progress?.("creating a random model", 0, 0);
    const config = await writeRandomCheckpoint(folder, shapeConfig(shape));
    await writeFile(join(folder, "tokenizer.json"), JSON.stringify(wordTokenizer(config.vocabSize)));
  });
  return model;
}

async function createOnce(folder: string, make: (folder: string) => Promise<void>): Promise<void> {
  if (await isThere(folder)) return;
  // Hidden, so that it is not taken for an adapter.
  const temporary = join(folder, "..", `.creating-${process.pid}`);
  await rm(temporary, { recursive: true, force: true });
  await mkdir(temporary, { recursive: true });
  try {
    await make(temporary);
    await rename(temporary, folder);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    if (!(await isThere(folder))) throw error; // otherwise another process was faster
  }
}

async function isThere(folder: string): Promise<boolean> {
  return stat(folder).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

/** A tokenizer that spells token 7 as " w7", so that answers are text, as with real models. */
function wordTokenizer(vocabSize: number): object {
  const vocab: Record<string, number> = {};
  for (let id = 0; id < vocabSize; id++) vocab[`Ġw${id}`] = id;
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    model: { type: "BPE", dropout: null, unk_token: null, ignore_merges: false, vocab, merges: [] },
  };
}
