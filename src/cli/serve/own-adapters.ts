/** The adapters that a model brings along: those in the folder `adapters` of its own folder. A model may be given as a file in that folder. */

import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { configFile } from "../../adapter/format.js";
import type { OwnFolder } from "../../adapter/store/store.js";
import { isFolder } from "../../base/files.js";
import { modelFolder } from "../../model/task/folder.js";

/** One folder, or none. `base`: the model's served name. */
export async function ownAdapters(base: string, model: string): Promise<OwnFolder[]> {
  const directory = await folderIn(model);
  return (await isFolder(directory)) ? [{ base, directory }] : [];
}

export const bringsAdapters = async (model: string): Promise<boolean> => await isFolder(await folderIn(model));

/** The folder of one of them by its name, or null. */
export async function ownAdapter(model: string, name: string): Promise<string | null> {
  const folder = join(await folderIn(model), name);
  return (await hasConfig(folder)) ? folder : null;
}

/** Their names in order, servable or not. */
export async function ownAdapterNames(model: string): Promise<string[]> {
  const folder = await folderIn(model);
  const names = (await isFolder(folder)) ? await readdir(folder) : [];
  const found = await Promise.all(names.map(async (name) => (await hasConfig(join(folder, name))) && name));
  return found.filter((name) => name !== false).sort();
}

const hasConfig = async (folder: string): Promise<boolean> =>
  (await stat(join(folder, configFile)).catch(() => null))?.isFile() === true;

/** Where they lie, whether the folder is there or not. */
export const folderIn = async (model: string): Promise<string> => join(await modelFolder(model), "adapters");
