/** The folder of an adapter that the command line names: a folder, a name in the adapters folder, or a repository on the hub. */

import { copyFile, mkdir, mkdtemp, readdir, realpath, rm, stat, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { configFile, isKeptFile } from "../../adapter/format.js";
import { nameFault } from "../../adapter/names.js";
import { followsLinks } from "../../adapter/store/kept-files.js";
import { isFolder } from "../../base/files.js";
import { nearest } from "../../base/nearest.js";
import { isHubAddress, locate } from "../hub/model-folder.js";
import { hintAtPath } from "../options/nearby.js";
import { open } from "../options/option.js";
import { requireFolder } from "../options/paths.js";
import { text } from "../options/units.js";
import { folderIn, ownAdapter, ownAdapterNames } from "../serve/own-adapters.js";
import type { Terminal } from "../terminal.js";
import { UsageError } from "../usage.js";
import { openLocalStore } from "./local-store.js";

/** Disposing removes its temporary files. */
export interface AdapterSource extends AsyncDisposable {
  readonly folder: string;
}

/** Where a name is looked up. */
export interface AdapterPlace {
  /** The option's name in messages: `--adapter`. */
  readonly option: string;
  /** The adapters folder; null: LORIKEET_ADAPTERS, else `adapters`. */
  readonly adapters: string | null;
  /** The base's folder, whose own adapters are looked at last; null: not known. */
  readonly model: string | null;
}

export const adaptersFolder = open("Adapter", "adapters", {
  placeholder: "folder",
  parse: text,
  help: "adapters folder, where --adapter is looked up by name",
});

export const adapterHelp = "name in the adapters folder or among the model's own, a PEFT folder, or hf://org/name";

/** Resolves the argument of `adapters add`, a folder or a repository. Throws a UsageError, and what `locate` throws. */
export async function openAdapterSource(text: string, terminal: Terminal): Promise<AdapterSource> {
  if (isHubAddress(text)) return await fromHub(text, "<folder>", terminal);
  await requireFolder("<folder>", text);
  return plain(text);
}

/** An existing PEFT folder wins over a name in the adapters folder, and that over one of the model's own. Throws a UsageError that says what was looked for. */
export async function openNamedAdapter(text: string, place: AdapterPlace, terminal: Terminal): Promise<AdapterSource> {
  if (isHubAddress(text)) return await fromHub(text, place.option, terminal);
  const directory = place.adapters ?? (terminal.environment.LORIKEET_ADAPTERS || "adapters");
  for (const folder of [text, join(directory, text)]) if (await isAdapter(folder)) return plain(folder);
  const isThere = await isFolder(directory);
  const isName = nameFault(text) === null;
  if (isThere && isName) {
    await using local = await openLocalStore(directory, null);
    const record = local.store.resolve(text);
    if (record !== null) return plain(await local.store.folder(record.digest));
  }
  const own = isName && place.model !== null ? await ownAdapter(place.model, text) : null;
  if (own !== null) return plain(own);
  if (await isFolder(text))
    throw new UsageError([`${place.option} ${text} is not an adapter: it has no ${configFile}.`]);
  if (place.adapters !== null) await requireFolder("--adapters", place.adapters);
  throw await missing(text, place, isThere ? directory : null);
}

/** An adapters folder that holds the adapter alone, under the name that is returned. */
export async function adaptersFolderOf(
  { folder }: AdapterSource,
  text: string,
  model: string,
): Promise<AdapterSource & { readonly name: string }> {
  const own = basename(text);
  const name = nameFault(own, [basename(model)]) === null ? own : "adapter";
  const directory = await mkdtemp(join(tmpdir(), "lorikeet-adapters-"));
  const source = { folder: directory, name, [Symbol.asyncDispose]: () => removed(directory) };
  return await filled(source, folder, join(directory, name));
}

async function fromHub(text: string, option: string, terminal: Terminal): Promise<AdapterSource> {
  const snapshot = await locate(text, { option, kind: "adapter" }, terminal);
  const folder = await mkdtemp(join(tmpdir(), "lorikeet-adapter-"));
  return await filled({ folder, [Symbol.asyncDispose]: () => removed(folder) }, snapshot, folder);
}

async function filled<T extends AdapterSource>(source: T, from: string, to: string): Promise<T> {
  try {
    await mkdir(to, { recursive: true });
    for (const name of (await readdir(from)).filter(isKeptFile)) {
      // A snapshot consists of links, and a store follows only those of the config and weights.
      const file = await realpath(join(from, name));
      await (followsLinks(name) ? symlink(file, join(to, name)) : copyFile(file, join(to, name)));
    }
    return source;
  } catch (error) {
    await source[Symbol.asyncDispose]();
    throw error;
  }
}

async function missing(text: string, { option, model }: AdapterPlace, directory: string | null): Promise<UsageError> {
  const names = directory === null ? [] : await namesIn(directory);
  const own = model === null ? [] : await ownAdapterNames(model);
  const fault = own.includes(text) ? nameFault(text) : null;
  if (fault !== null) return new UsageError([fault.message]);
  const holds = (folder: string, held: readonly string[]) => `${folder} (which holds ${held.join(", ") || "none"})`;
  const folders = [
    directory === null ? "an adapters folder" : holds(directory, names),
    ...(model !== null && own.length > 0 ? [holds(await folderIn(model), own)] : []),
  ];
  const near = nearest(
    text,
    [...names, ...own].filter((name) => nameFault(name) === null),
  );
  const hint = near === null ? await hintAtPath(text, "folder") : `Did you mean ${near}?`;
  const sentence = `${option} ${text} is neither an adapter in ${folders.join(" or ")} nor a folder.`;
  return new UsageError([sentence, ...(hint === null ? [] : [hint])]);
}

async function namesIn(directory: string): Promise<string[]> {
  await using local = await openLocalStore(directory, null);
  return [...local.store.list(), ...local.store.refused()].map(({ name }) => name);
}

const plain = (folder: string): AdapterSource => ({ folder: resolve(folder), [Symbol.asyncDispose]: async () => {} });
const removed = (folder: string): Promise<void> => rm(folder, { recursive: true, force: true });
const isAdapter = async (folder: string): Promise<boolean> =>
  (await stat(join(folder, configFile)).catch(() => null))?.isFile() === true;
