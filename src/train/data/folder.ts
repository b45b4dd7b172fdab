/** Finds the files of a data set: one file, or the files of a folder, which are named after their splits. */
import { readdir, stat } from "node:fs/promises";
import { basename, extname, join } from "node:path";
import { LorikeetError } from "../../base/errors.js";

export type SplitName = "train" | "valid" | "test";

export interface DataFile {
  readonly path: string;
  readonly split: SplitName;
}

export interface DataFolder {
  readonly files: readonly DataFile[];
  /** Data files in the folder that belong to no split and are ignored. */
  readonly unused: readonly string[];
}

/** Each may end in `.gz`, except Parquet, which has its own compression. */
export const extensions = [".jsonl", ".json", ".csv", ".tsv", ".txt", ".parquet"] as const;
export type Extension = (typeof extensions)[number];

export interface FileFormat {
  readonly extension: Extension;
  readonly isGzip: boolean;
}

/** A file's format and split by its name; null for an unknown format. */
export function formatOf(path: string): FileFormat | null {
  const name = basename(path).toLowerCase();
  const isGzip = name.endsWith(".gz");
  const found = extname(isGzip ? name.slice(0, -3) : name);
  const extension = extensions.find((known) => known === found);
  if (!extension || (isGzip && extension === ".parquet")) return null;
  return { extension, isGzip };
}

const splitOf: Readonly<Record<string, SplitName>> = {
  train: "train",
  training: "train",
  valid: "valid",
  validation: "valid",
  val: "valid",
  dev: "valid",
  test: "test",
};

/** The split that a folder's name means; null if it means none. */
export const splitNamed = (name: string): SplitName | null => splitOf[name.toLowerCase()] ?? null;

/** `train.jsonl`, or one shard of several: `train-00000-of-00003.parquet`, `train_1.csv`, `train.part2.jsonl`. */
const splitName = new RegExp(`^(${Object.keys(splitOf).join("|")})(?:[-_.](.+))?$`, "i");

interface NamedFile extends DataFile {
  readonly name: string;
  /** The part after the split's name: `00000-of-00003`. */
  readonly shard: string | undefined;
}

/** The folder of a Hugging Face data set's files, unless they are beside its README.md. */
const hubFolder = "data";

/**
 * The files of `--data`: one file, or the files of a folder (or else of its folder `data`) that are named train, valid (validation, val,
 * dev) or test, optionally followed by a shard's number. Throws `data_invalid` if there are none, or if it is unclear which are meant.
 */
export async function findDataFiles(path: string): Promise<DataFolder> {
  const status = await stat(path).catch(() => null);
  if (!status) throw invalid(`The data ${path} does not exist.`, path);
  if (!status.isDirectory()) {
    if (formatOf(path)) return { files: [{ path, split: "train" }], unused: [] };
    throw invalid(`The data ${path} must end in ${extensions.join(", ")}, or in one of these and .gz.`, path);
  }
  const top = await listFolder(path);
  const inner = top.files.length === 0 && top.folders.includes(hubFolder) ? join(path, hubFolder) : null;
  const below = inner === null ? null : await listFolder(inner);
  const [folder, { files, unused }] = inner !== null && below?.files.length ? [inner, below] : [path, top];
  for (const split of ["train", "valid", "test"] as const) requireOneSource(folder, split, files);
  if (files.length > 0) return { files: files.map(({ path: file, split }) => ({ path: file, split })), unused };
  throw invalid(
    `The folder ${path} has no file named train, valid, dev or test that ends in ${extensions.join(", ")}${await othersIn(path, top)}.`,
    path,
  );
}

interface Listing {
  readonly files: readonly NamedFile[];
  readonly unused: readonly string[];
  readonly folders: readonly string[];
}

async function listFolder(path: string): Promise<Listing> {
  const files: NamedFile[] = [];
  const unused: string[] = [];
  const folders: string[] = [];
  for (const name of (await readdir(path)).sort()) {
    if ((await stat(join(path, name)).catch(() => null))?.isDirectory()) {
      folders.push(name);
      continue;
    }
    const file = named(path, name);
    if (file) files.push(file);
    else if (formatOf(name)) unused.push(name);
  }
  return { files, unused, folders };
}

/** What a folder contains instead, as the end of a sentence. */
async function othersIn(path: string, { unused, folders }: Listing): Promise<string> {
  const withFiles: string[] = [];
  for (const name of folders) if ((await listFolder(join(path, name))).files.length > 0) withFiles.push(name);
  if (withFiles.length > 0) return `; such files are in ${shownNames(withFiles)}: give that folder`;
  return unused.length > 0 ? `; it has ${shownNames(unused)}` : "";
}

const shownNames = (names: readonly string[]): string =>
  (names.length > 8 ? [...names.slice(0, 8), `${names.length - 8} more`] : names).join(", ");

function named(folder: string, name: string): NamedFile | null {
  const format = formatOf(name);
  if (!format) return null;
  const stem = name.slice(0, name.length - format.extension.length - (format.isGzip ? 3 : 0));
  const [, split = "", shard] = splitName.exec(stem) ?? [];
  const known = splitOf[split.toLowerCase()];
  return known ? { path: join(folder, name), name, split: known, shard } : null;
}

/** A split must be one file, or shards of one format. Anything else may repeat rows. */
function requireOneSource(folder: string, split: SplitName, files: readonly NamedFile[]): void {
  const own = files.filter((file) => file.split === split);
  const kinds = new Set(own.map(({ name }) => formatOf(name)?.extension));
  requireAllShards(folder, split, own);
  if (own.length < 2 || (kinds.size === 1 && own.every(({ shard }) => shard !== undefined))) return;
  const names = own.map(({ name }) => name);
  throw invalid(
    `The folder ${folder} has ${names.length} files for ${split}, which are not the shards of one set: ${shownNames(names)}.`,
    folder,
  );
}

/** Numbered shards must be complete, counted from 0 or 1. Otherwise rows would be missing silently. */
function requireAllShards(folder: string, split: SplitName, files: readonly NamedFile[]): void {
  const numbers = new Map<number, Set<number>>();
  for (const { shard = "" } of files) {
    const [, number, total] = /^(\d+)-of-(\d+)(?:[-_.]|$)/.exec(shard) ?? [];
    if (total === undefined) continue;
    numbers.set(Number(total), (numbers.get(Number(total)) ?? new Set()).add(Number(number)));
  }
  for (const [total, found] of numbers) {
    if (found.size >= total) continue;
    const message = `The folder ${folder} has ${found.size} of the ${total} shards for ${split}: the others are missing.`;
    throw invalid(message, folder);
  }
}

function invalid(message: string, found: string): LorikeetError {
  return new LorikeetError("data_invalid", message, { param: "--data", found, allowed: extensions });
}
