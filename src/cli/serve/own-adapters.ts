/** The adapters that a model brings along: those in the folder `adapters` of its own folder. */

import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { OwnFolder } from "../../adapter/store/store.js";

/** One folder, or none; none for a model that is a file. `base`: the model's served name. */
export async function ownAdapters(base: string, model: string): Promise<OwnFolder[]> {
  return (await bringsAdapters(model)) ? [{ base, directory: folderIn(model) }] : [];
}

export async function bringsAdapters(model: string): Promise<boolean> {
  return (await stat(folderIn(model)).catch(() => null))?.isDirectory() === true;
}

const folderIn = (model: string): string => join(model, "adapters");
