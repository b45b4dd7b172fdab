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
  const files = status.isFile() ? filesNamed(folder, found, path) : chooseFiles(folder, found, manifest);
  const json = names.includes("config.json") ? await readJson(folder, "config.json") : {};
  const config: Json = isObject(json) ? json : {};
  const { task, architecture } = taskOf(config, names.includes("modules.json"));
  if (!manifest.files) requireDecoder(folder, files, manifest.task ?? task);
  return {
    path,
    folder,
    manifest,
    task: manifest.task ?? task,
    architecture,
    files: manifest.files ? files : files.map(aloneAsWhole),
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

/** The file of a path, with the others of its precision if it is a part of an encoder-decoder. */
function filesNamed(folder: string, found: readonly string[], path: string): TaskFile[] {
  const label = found.find((name) => basename(name) === basename(path) && join(folder, name) === join(path));
  if (label === undefined) return [{ role: partOf(path)?.role ?? "whole", label: basename(path), path }];
  return filesBeside(found, label).map((file) => ({ ...file, path: join(folder, file.label) }));
}

/** The files of a model that one of them names: its own, and of an encoder-decoder the others with its suffix beside it. */
export function filesBeside(found: readonly string[], label: string): readonly Labelled[] {
  const part = partOf(label);
  if (part === null) return [{ role: "whole", label }];
  const place = label.slice(0, label.length - basename(label).length);
  const beside = found.filter((name) => name.startsWith(place) && !name.slice(place.length).includes("/"));
  const sets = layouts.filter(({ [part.role]: stem }) => stem !== undefined);
  return inLayout(beside, sets, part.suffix) ?? [{ role: part.role, label }];
}

/** Whether a file's name says that it is a part of an encoder-decoder. */
export const isPart = (label: string): boolean => (partOf(label)?.role ?? "whole") !== "whole";

interface Part {
  readonly role: FileRole;
  /** What follows the name of the part, such as `_fp16`. */
  readonly suffix: string;
}

/** What a file's name says; null for a name of no layout. */
function partOf(label: string): Part | null {
  const name = basename(label, ".onnx");
  const parts = (layouts.flatMap((layout) => Object.entries(layout)) as [FileRole, string][])
    .filter(([, stem]) => name === stem || name.startsWith(`${stem}_`))
    .sort(([, a], [, b]) => b.length - a.length);
  const [found] = parts;
  return found ? { role: found[0], suffix: name.slice(found[1].length) } : null;
}

/** A file that stands alone is the whole model, whatever its name. */
const aloneAsWhole = (file: TaskFile, _: number, { length }: readonly TaskFile[]): TaskFile =>
  length === 1 && file.role === "encoder" ? { ...file, role: "whole" } : file;

const generating: readonly Task[] = ["translation", "text2text-generation", "automatic-speech-recognition"];

/** Throws `model_invalid` for an encoder without its decoder, unless its vectors are what the model is for. */
function requireDecoder(folder: string, files: readonly TaskFile[], task: Task): void {
  const [file, ...others] = files;
  const part = file && others.length === 0 ? partOf(file.label) : null;
  if (!file || part?.role !== "encoder" || !generating.includes(task)) return;
  const [merged, first, next] = ["decoder_model_merged", "decoder_model", "decoder_with_past_model"].map(
    (stem) => `${stem}${part.suffix}.onnx`,
  );
  const message = `holds ${file.label} without its decoder: add ${merged}, or ${first} and ${next}. To serve the encoder alone for its vectors, write {"task": "feature-extraction"} to ${manifestName} in the folder`;
  throw invalid(folder, message);
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
  throw invalid(folder, `holds ${found.join(", ") || "no .onnx file"}; model.onnx is expected${choicesAmong(found)}`);
}

/** What to write to choose one of several models. */
function choicesAmong(found: readonly string[]): string {
  const sets = found.map((label) => filesBeside(found, label).map((file) => file.label));
  const whole = sets.filter((labels) => labels.length > 1 || labels.every((label) => !isPart(label)));
  const names = new Set(whole.map((labels) => labels.at(-1)));
  return names.size === 0 ? "" : `, or ${[...names].map((name) => `--onnx-file ${name}`).join(" or ")}`;
}

type Labelled = Pick<TaskFile, "role" | "label">;

/** Those of a folder's ONNX files, by their labels, that make a model; empty if the names do not say which. */
export function filesAmong(found: readonly string[]): readonly Labelled[] {
  const usual = inLayout(found, layouts, "");
  if (usual) return usual;
  const [only, ...others] = found;
  if (only !== undefined && others.length === 0) return [{ role: partOf(only)?.role ?? "whole", label: only }];
  const suffixes = new Set(found.map((label) => partOf(label)?.suffix));
  const [suffix] = suffixes.size === 1 ? suffixes : [];
  return (suffix === undefined ? null : inLayout(found, layouts, suffix)) ?? [];
}

/** The files of the first layout that is complete with this suffix. */
function inLayout(found: readonly string[], of: typeof layouts, suffix: string): readonly Labelled[] | null {
  for (const layout of of) {
    const names = (Object.entries(layout) as [FileRole, string][]).map(([role, stem]) => [
      role,
      `${stem}${suffix}.onnx`,
    ]);
    const files = (names as [FileRole, string][]).flatMap(([role, name]) => {
      const label = found.find((each) => each === `${subfolder}/${name}` || each === name);
      return label === undefined ? [] : [{ role, label }];
    });
    if (files.length === names.length) return files;
  }
  return null;
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
