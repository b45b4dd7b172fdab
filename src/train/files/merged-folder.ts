/** Where a merged model is written: a new folder, or a model's folder that it may replace. */

import { readdir, rename, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { orMissing, removeTree, syncTree } from "../../base/durable.js";
import { LorikeetError } from "../../base/errors.js";
import { makeFolders } from "../../base/files.js";

export interface MergedFolder {
  /** Absolute. */
  readonly out: string;
  readonly overwrite: boolean;
  /** The file that a folder of this kind has, and what such a folder is called. */
  readonly marker: { readonly file: string; readonly noun: string };
}

/** What a merged model never has: replacing a folder with it would lose an adapter, or what extends a run. */
const ofRuns = ["adapter_config.json", "checkpoints", ".training"];

/** Throws `conflict` for a folder that is not to be replaced. Changes nothing. */
export async function requireReplaceable({ out, overwrite, marker }: MergedFolder): Promise<void> {
  const names = await orMissing(readdir(out));
  const isFree = names === null ? (await orMissing(stat(out))) === null : names.length === 0;
  if (isFree) return;
  if (!overwrite) throw inTheWay(out, "already exists; --overwrite replaces it.");
  const advice = "so it is not replaced: choose another --output-dir.";
  const kept = ofRuns.find((name) => names?.includes(name));
  if (kept !== undefined)
    throw inTheWay(out, `holds an adapter or the checkpoints of a run (it has ${kept}), ${advice}`);
  if (!names?.includes(marker.file)) {
    throw inTheWay(out, `is not a ${marker.noun} (it has no ${marker.file}), ${advice}`);
  }
}

/** Replaces a folder with what `write` puts into a draft beside it, by one rename. A fault leaves the folder as it was, and no draft. */
export async function replaceFolder(out: string, write: (draft: string) => Promise<void>): Promise<void> {
  const draft = join(dirname(out), `.${basename(out)}.merging`);
  await removeTree(draft);
  await makeFolders(draft);
  try {
    await write(draft);
    await syncTree(draft);
    await removeTree(out);
    await rename(draft, out);
  } catch (cause) {
    await removeTree(draft);
    throw cause;
  }
}

const inTheWay = (out: string, why: string): LorikeetError =>
  new LorikeetError("conflict", `${out} ${why}`, { param: "--output-dir", found: out });
