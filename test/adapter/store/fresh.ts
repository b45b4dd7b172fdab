/** A fresh folder for each test of a file, and the stores that a test opens in it. */

import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, beforeEach } from "node:test";
import type { AdapterStore, StoreOptions } from "../../../src/adapter/store/store.js";
import { openStore } from "./writer.js";

export interface FreshStores {
  /** Above the folders of all tests. */
  readonly root: string;
  /** The folder of the test that runs. */
  readonly directory: string;
  /** Opens a store in that folder, to be closed when the test ends. */
  open(options?: Partial<StoreOptions>): Promise<AdapterStore>;
}

/** Called once at the top of a file of tests. */
export async function freshStores(name: string): Promise<FreshStores> {
  const root = await mkdtemp(join(tmpdir(), `lorikeet-${name}-`));
  let directory = "";
  let count = 0;
  const opened: AdapterStore[] = [];
  beforeEach(async () => {
    directory = join(root, String(++count));
    await mkdir(directory);
  });
  afterEach(async () => {
    for (const store of opened.splice(0)) await store.close();
  });
  after(() => rm(root, { recursive: true }));
  return {
    root,
    get directory() {
      return directory;
    },
    async open(options = {}) {
      const store = await openStore(directory, options);
      opened.push(store);
      return store;
    },
  };
}
