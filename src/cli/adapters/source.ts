/** The adapter folder for `adapters add`: the given folder, or a temporary one with the files of a cached snapshot. */

import { copyFile, mkdtemp, readdir, realpath, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isKeptFile } from "../../adapter/format.js";
import { followsLinks } from "../../adapter/store/kept-files.js";
import { isHubAddress, locate } from "../hub/model-folder.js";
import type { Terminal } from "../terminal.js";

export interface AdapterSource extends AsyncDisposable {
  readonly folder: string;
}

/** Throws what `locate` throws. Disposing removes the temporary folder. */
export async function openAdapterSource(text: string, terminal: Terminal): Promise<AdapterSource> {
  if (!isHubAddress(text)) return { folder: text, [Symbol.asyncDispose]: async () => {} };
  const snapshot = await locate(text, { option: "<folder>", kind: "adapter" }, terminal);
  const folder = await mkdtemp(join(tmpdir(), "lorikeet-adapter-"));
  const source = { folder, [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }) };
  try {
    for (const name of (await readdir(snapshot)).filter(isKeptFile)) {
      // A snapshot consists of links, and a store follows only those of the config and weights.
      const file = await realpath(join(snapshot, name));
      await (followsLinks(name) ? symlink(file, join(folder, name)) : copyFile(file, join(folder, name)));
    }
    return source;
  } catch (error) {
    await source[Symbol.asyncDispose]();
    throw error;
  }
}
