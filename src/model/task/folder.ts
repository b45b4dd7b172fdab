/**
 * Finds the ONNX files of a task model, in the layouts of optimum and transformers.js (`onnx/model.onnx`), of older exports
 * (`model.onnx` beside config.json) and of timm, or around a bare .onnx file; and the task that config.json names.
 */

import { access, readdir, realpath, stat } from "node:fs/promises";
import { basename, dirname, extname, join, resolve } from "node:path";
import { LorikeetError } from "../../base/errors.js";
import { isObject, type Json } from "../../base/json.js";
import { findWeights, readJson, type WeightFile } from "../checkpoint/files.js";
import { modelNames } from "../checkpoint/model-names.js";
import { families } from "../families/registry.js";
import { type FileRole, type Manifest, manifestName, readManifest } from "./manifest.js";
import { type Task, taskOf } from "./tasks.js";

export type { FileRole } from "./manifest.js";

export interface TaskFile {
  readonly role: FileRole;
  /** Relative to the model's folder. */
  readonly label: string;
  readonly path: string;
}

export interface TaskFolder {
  /** As it was given: the folder, or a file in it. */
  readonly path: string;
  readonly folder: string;
  readonly task: Task;
  /** The class that config.json names; null if it names none. */
  readonly architecture: string | null;
  readonly files: readonly TaskFile[];
  /** The name that it is served by, then others that adapters may use for it. */
  readonly names: readonly [string, ...string[]];
  /** ONNX files that are not read, such as those of other precisions. */
  readonly otherFiles: readonly string[];
  /** The checkpoint that the files were exported from; empty if it is not there. */
  readonly weights: readonly WeightFile[];
  readonly manifest: Manifest;
}

const subfolder = "onnx";

/** The sets of files that make a model, by preference. */
const layouts: readonly Readonly<Partial<Record<FileRole, string>>>[] = [
  { whole: "model" },
  { encoder: "encoder_model", "merged-decoder": "decoder_model_merged" },
  { encoder: "encoder_model", decoder: "decoder_model", "decoder-with-past": "decoder_with_past_model" },
  { encoder: "encoder_model", decoder: "decoder_model" },
  { "merged-decoder": "decoder_model_merged" },
  { decoder: "decoder_model", "decoder-with-past": "decoder_with_past_model" },
  { decoder: "decoder_model" },
];

/**
 * Whether a path is a task model: an .onnx file, or a folder with such files that does not hold the checkpoint of a decoder that
 * Lorikeet serves itself.
 */
export async function isTaskModel(path: string): Promise<boolean> {
  const status = await stat(path).catch(() => null);
  if (status?.isFile()) return extname(path) === ".onnx";
  if (!status?.isDirectory() || (await onnxFilesOf(path)).length === 0) return false;
  const names = await readdir(path);
  if (!names.includes("config.json") || !names.some((name) => name.endsWith(".safetensors"))) return true;
  return !isDecoderConfig(await readJson(path, "config.json"));
}

/** Whether a config.json is that of a decoder that Lorikeet reads from safetensors. */
export const isDecoderConfig = (config: unknown): boolean =>
  isObject(config) && families.some(({ name }) => name === config.model_type);

/** Finds the files of a task model. Throws LorikeetError `model_invalid` if the path is none, or does not say which files make it. */
export async function openTaskFolder(path: string): Promise<TaskFolder> {
  const status = await stat(path).catch(() => null);
  if (status === null) throw invalid(path, "does not exist");
  const folder = await modelFolder(path);
  const found = await onnxFilesOf(folder);
  const names = await readdir(folder);
  const manifest = await readManifest(folder, names);
  const files = status.isFile() ? [fileNamed(folder, found, path)] : chooseFiles(folder, found, manifest);
  const json = names.includes("config.json") ? await readJson(folder, "config.json") : {};
  const config: Json = isObject(json) ? json : {};
  const { task, architecture } = taskOf(config, names.includes("modules.json"));
  return {
    path,
    folder,
    manifest,
    task: manifest.task ?? task,
    architecture,
    files,
    names: namesOf(folder, path, config, status.isFile()),
    otherFiles: found.filter((label) => files.every((file) => file.label !== label)),
    weights: await weightsOf(folder, names, manifest),
  };
}

async function weightsOf(
  folder: string,
  names: readonly string[],
  { weights }: Manifest,
): Promise<readonly WeightFile[]> {
  if (weights !== undefined) {
    const path = join(folder, weights);
    if (await exists(path)) return [{ path, label: weights, promised: null }];
    throw unlisted(weights, "weights");
  }
  const hasWeights = names.some((name) => name.endsWith(".safetensors") && name !== "adapter_model.safetensors");
  return hasWeights ? await findWeights(await realpath(folder), names) : [];
}

/** A file without a config.json around it is called by its own name. */
function namesOf(folder: string, path: string, config: Json, isFile: boolean): readonly [string, ...string[]] {
  const names = modelNames(resolve(folder), config);
  const isBare = isFile && Object.keys(config).length === 0;
  return isBare ? [basename(path, ".onnx"), ...names] : names;
}

/** The folder of a model: itself, or where config.json and checkpoint of an .onnx file would be. */
export async function modelFolder(path: string): Promise<string> {
  if ((await stat(path).catch(() => null))?.isFile() !== true) return path;
  const folder = dirname(path);
  if (basename(folder) !== subfolder) return folder;
  const outer = dirname(folder);
  const has = async (name: string): Promise<boolean> => await exists(join(outer, name));
  return (await has("config.json")) || (await has(manifestName)) ? outer : folder;
}

/** Labels of the ONNX files of a folder and of its subfolder. */
export async function onnxFilesOf(folder: string): Promise<string[]> {
  const inner = await readdir(join(folder, subfolder)).catch(() => []);
  const labels = [...(await readdir(folder)), ...inner.map((name) => `${subfolder}/${name}`)];
  return labels.filter((label) => extname(label) === ".onnx").sort();
}

function fileNamed(folder: string, found: readonly string[], path: string): TaskFile {
  const label = found.find((name) => basename(name) === basename(path) && join(folder, name) === join(path));
  const stem = basename(path, ".onnx");
  const role = layouts.flatMap((layout) => Object.entries(layout)).find(([, name]) => name === stem)?.[0] ?? "whole";
  return { role: role as FileRole, label: label ?? basename(path), path };
}

function chooseFiles(folder: string, found: readonly string[], manifest: Manifest): TaskFile[] {
  if (manifest.files) {
    return (Object.entries(manifest.files) as [FileRole, string][]).map(([role, label]) => {
      if (found.includes(label)) return { role, label, path: join(folder, label) };
      throw unlisted(label, "a file");
    });
  }
  const chosen = filesAmong(found).map(({ role, label }) => ({ role, label, path: join(folder, label) }));
  if (chosen.length > 0) return chosen;
  throw invalid(
    folder,
    `holds ${found.join(", ") || "no .onnx file"}; model.onnx is expected, or give one file by its path`,
  );
}

/** Those of a folder's ONNX files, by their labels, that make a model; empty if the names do not say which. */
export function filesAmong(found: readonly string[]): readonly Pick<TaskFile, "role" | "label">[] {
  const labelOf = (stem: string): string | undefined =>
    found.find((label) => label === `${subfolder}/${stem}.onnx` || label === `${stem}.onnx`);
  for (const layout of layouts) {
    const files = (Object.entries(layout) as [FileRole, string][]).flatMap(([role, stem]) => {
      const label = labelOf(stem);
      return label === undefined ? [] : [{ role, label }];
    });
    if (files.length === Object.keys(layout).length) return files;
  }
  const [only, ...others] = found;
  return only !== undefined && others.length === 0 ? [{ role: "whole", label: only }] : [];
}

const unlisted = (name: string, field: string): LorikeetError =>
  new LorikeetError(
    "model_invalid",
    `${manifestName} names ${JSON.stringify(name)} as ${field}, which is not in the folder.`,
    {
      param: manifestName,
    },
  );

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

function invalid(path: string, clause: string): LorikeetError {
  return new LorikeetError("model_invalid", `The model ${path} ${clause}.`, { param: path });
}
