/**
 * Finds the files of a checkpoint directory: config.json, and the weights in one file or in the shards of an index. Follows
 * symbolic links to the real files, which the Hugging Face cache uses.
 */

import { readdir, realpath, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { LorikeetError } from "../../base/errors.js";
import { readRegular } from "../../base/files.js";
import { isObject, shown } from "../../base/json.js";
import { jsonBreak } from "../../base/json-break.js";
import { valueAt } from "../../base/list.js";

/** A weights file: its absolute path without symbolic links, and its name in the directory. */
export interface WeightFile {
  readonly label: string;
  readonly path: string;
  /** Tensor names that the index maps to this file; null without an index. */
  readonly promised: readonly string[] | null;
}

const maxJsonBytes = 64 * 2 ** 20;
const singleName = "model.safetensors";
const indexName = "model.safetensors.index.json";

/** The real path of a model directory and its file names. Throws `model_invalid`, with a hint, if it is not a model. */
export async function openDirectory(directory: string): Promise<{ path: string; names: readonly string[] }> {
  let path: string;
  try {
    path = await realpath(directory);
    if (!(await stat(path)).isDirectory()) {
      throw invalid(directory, "is not a directory; give the folder that holds config.json and *.safetensors");
    }
  } catch (cause) {
    if (cause instanceof LorikeetError) throw cause;
    throw invalid(directory, `cannot be opened (${reasonOf(cause)}); give a folder with a Hugging Face model`, cause);
  }
  const names = (await readdir(path)).sort();
  if (names.includes("config.json")) return { path, names };
  throw invalid(directory, `holds no config.json${hintWithoutConfig(names)}`);
}

function hintWithoutConfig(names: readonly string[]): string {
  if (names.includes("adapter_config.json")) return "; it is an adapter: give the folder of its base model";
  return hintAtModel(names) ?? "; give a folder with config.json and *.safetensors";
}

/** A hint for a folder without config.json, from its file names: where the model is, or what the folder holds instead. */
export function hintAtModel(names: readonly string[]): string | null {
  if (names.includes("snapshots")) return "; it is a Hugging Face cache: give the folder snapshots/<revision> in it";
  const gguf = names.find((name) => name.endsWith(".gguf"));
  return gguf
    ? `; ${gguf} is a GGUF file, which is not supported: use the Hugging Face model that it was converted from`
    : null;
}

/** Reads a JSON file of the directory. Throws `model_invalid`. */
export async function readJson(directory: string, name: string): Promise<unknown> {
  const path = join(directory, name);
  try {
    const { size } = await stat(path);
    if (size > maxJsonBytes) throw invalid(path, `is ${size} bytes long; at most ${maxJsonBytes} are allowed`);
    return parseJson((await readRegular(path)).toString("utf8"), path);
  } catch (cause) {
    if (cause instanceof LorikeetError) throw cause;
    throw invalid(path, `cannot be read as JSON (${reasonOf(cause)})`, cause);
  }
}

function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw invalid(path, `cannot be read as JSON: ${jsonBreak(text)}`, cause);
  }
}

/**
 * The weight files of a directory. As in transformers, `model.safetensors` comes before an index; failing both, the only
 * `.safetensors` file counts. Throws `model_invalid` with the names of all missing shards.
 */
export async function findWeights(directory: string, names: readonly string[]): Promise<WeightFile[]> {
  if (names.includes(singleName)) return [await locate(directory, singleName, null)];
  if (names.includes(indexName)) return await findShards(directory, names);
  const files = names.filter((name) => name.endsWith(".safetensors") && name !== "adapter_model.safetensors");
  const [only] = files;
  if (only !== undefined && files.length === 1 && !/-of-\d+\.safetensors$/.test(only)) {
    return [await locate(directory, only, null)];
  }
  const absent = missingShards(files);
  if (absent.length > 0) throw invalid(directory, `lacks ${absent.join(", ")} and the shards' ${indexName}`);
  if (files.length > 0) {
    throw invalid(directory, `holds ${files.join(", ")}, but neither ${singleName} nor the shards' ${indexName}`);
  }
  const pickle = names.find((name) => /\.(bin|pt|pth)$/.test(name));
  const gguf = names.find((name) => name.endsWith(".gguf"));
  const hint = pickle
    ? `; ${pickle} is a Python pickle, which is never opened: convert it with transformers, ` +
      `AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new_folder)`
    : gguf
      ? `; ${gguf} is a GGUF file, which is not supported: use the Hugging Face model that it was converted from`
      : "";
  throw invalid(directory, `holds no *.safetensors file${hint}`);
}

/** The missing ones among files named ...-00001-of-00003.safetensors. */
function missingShards(files: readonly string[]): string[] {
  const [, stem = "", digits = "", total = ""] = /^(.*)-(\d+)-of-(\d+)\.safetensors$/.exec(files[0] ?? "") ?? [];
  // The number in a name is untrusted.
  const count = Math.min(Number(total), 1024);
  return Array.from({ length: count }, (_, i) => String(i + 1).padStart(digits.length, "0"))
    .map((number) => `${stem}-${number}-of-${total}.safetensors`)
    .filter((name) => !files.includes(name));
}

async function findShards(directory: string, names: readonly string[]): Promise<WeightFile[]> {
  const index = await readJson(directory, indexName);
  const map = isObject(index) ? index.weight_map : undefined;
  if (!isObject(map)) throw invalid(join(directory, indexName), "has no weight_map");
  const shards = new Map<string, string[]>();
  for (const [tensor, file] of Object.entries(map)) {
    if (typeof file !== "string" || basename(file) !== file || !file.endsWith(".safetensors")) {
      throw invalid(
        join(directory, indexName),
        `maps ${shown(tensor)} to ${shown(file)}, which is not a .safetensors file beside it`,
      );
    }
    const promised = shards.get(file);
    if (promised) promised.push(tensor);
    else shards.set(file, [tensor]);
  }
  const files = [...shards.keys()].sort();
  const missing = files.filter((file) => !names.includes(file));
  if (missing.length > 0) {
    const present = files.length - missing.length;
    throw new LorikeetError(
      "model_invalid",
      `The model ${directory} lacks ${missing.join(", ")}: its index names ${files.length} shards, ${present} ${present === 1 ? "is" : "are"} there.`,
      { param: directory, found: present, allowed: files.length, faults: missing.map((file) => `${file} is missing`) },
    );
  }
  return await Promise.all(files.map((file) => locate(directory, file, valueAt(shards, file))));
}

async function locate(directory: string, label: string, promised: readonly string[] | null): Promise<WeightFile> {
  try {
    return { label, path: await realpath(join(directory, label)), promised };
  } catch (cause) {
    throw invalid(join(directory, label), `cannot be opened (${reasonOf(cause)}); is it a broken link?`, cause);
  }
}

function invalid(path: string, clause: string, cause?: unknown): LorikeetError {
  return new LorikeetError("model_invalid", `The model ${path} ${clause}.`, { param: path, cause });
}

function reasonOf(cause: unknown): string {
  if (cause instanceof Error && "code" in cause && typeof cause.code === "string") return cause.code;
  return cause instanceof Error ? cause.message : String(cause);
}
