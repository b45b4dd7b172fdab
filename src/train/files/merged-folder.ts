/** Where a merged model is written: a new folder, or a model's folder that it may replace. */

import { readdir, stat } from "node:fs/promises";
import { orMissing } from "../../base/durable.js";
import { LorikeetError } from "../../base/errors.js";

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

const inTheWay = (out: string, why: string): LorikeetError =>
  new LorikeetError("conflict", `${out} ${why}`, { param: "--output-dir", found: out });
