/** The adapters that a model brings along: those in the folder `adapters` of its own folder. */

import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { configFile } from "../../adapter/format.js";
import type { OwnFolder } from "../../adapter/store/store.js";

/** One folder, or none; none for a model that is a file. `base`: the model's served name. */
export async function ownAdapters(base: string, model: string): Promise<OwnFolder[]> {
  return (await bringsAdapters(model)) ? [{ base, directory: folderIn(model) }] : [];
}

export async function bringsAdapters(model: string): Promise<boolean> {
  return (await stat(folderIn(model)).catch(() => null))?.isDirectory() === true;
}

/** The folder of one of them by its name, or null. */
export async function ownAdapter(model: string, name: string): Promise<string | null> {
  const folder = join(folderIn(model), name);
  return (await hasConfig(folder)) ? folder : null;
}

/** Their names in order, servable or not. */
export async function ownAdapterNames(model: string): Promise<string[]> {
  const names = (await bringsAdapters(model)) ? await readdir(folderIn(model)) : [];
  const found = await Promise.all(names.map(async (name) => (await hasConfig(join(folderIn(model), name))) && name));
  return found.filter((name) => name !== false).sort();
}

const hasConfig = async (folder: string): Promise<boolean> =>
  (await stat(join(folder, configFile)).catch(() => null))?.isFile() === true;

export const folderIn = (model: string): string => join(model, "adapters");
