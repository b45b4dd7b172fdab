/** The folder store keeps the contract of stores. */

import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { testStore } from "../../support/store-contract.js";
import { folderPlace } from "./folder-place.js";

const root = await mkdtemp(join(tmpdir(), "lorikeet-contract-"));
let count = 0;
after(() => rm(root, { recursive: true }));

testStore("a store in a folder", async () => {
  const directory = join(root, String(++count));
  await mkdir(directory);
  return folderPlace(directory);
});
