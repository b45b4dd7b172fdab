/** The folder of an adapter that `adapters add` is given: its own, or one made from a snapshot in the Hugging Face cache. */

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

/** Throws what `locate` throws. Disposing removes what was made. */
export async function openAdapterSource(text: string, terminal: Terminal): Promise<AdapterSource> {
  if (!isHubAddress(text)) return { folder: text, [Symbol.asyncDispose]: async () => {} };
  const snapshot = await locate(text, { option: "<folder>", kind: "adapter" }, terminal);
  const folder = await mkdtemp(join(tmpdir(), "lorikeet-adapter-"));
  const source = { folder, [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }) };
  try {
    for (const name of (await readdir(snapshot)).filter(isKeptFile)) {
      // A snapshot is a folder of links, of which a store follows those to config and weights alone.
      const file = await realpath(join(snapshot, name));
      await (followsLinks(name) ? symlink(file, join(folder, name)) : copyFile(file, join(folder, name)));
    }
    return source;
  } catch (error) {
    await source[Symbol.asyncDispose]();
    throw error;
  }
}
