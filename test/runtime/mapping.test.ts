/** Mapped files keep their bytes when they are truncated or overwritten. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtemp, open, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import koffi from "koffi";
import { canMap, FileMapping, MappedTensor } from "../../src/runtime/mapping.js";

const root = await mkdtemp(join(tmpdir(), "lorikeet-mapping-"));
after(() => rm(root, { recursive: true }));
const length = 1 << 20;

async function mapped(name: string): Promise<{ readonly path: string; readonly mapping: FileMapping }> {
  const path = join(root, name);
  await writeFile(path, Buffer.alloc(length, 7));
  return { path, mapping: new FileMapping(path) };
}

const bytesOf = ({ address }: FileMapping): Buffer => Buffer.from(koffi.decode(address, koffi.array("uint8", length)));
const isWhole = (mapping: FileMapping): boolean => bytesOf(mapping).equals(Buffer.alloc(length, 7));

function guarded(): string | false {
  if (!canMap()) return "files cannot be mapped here";
  using probe = new FileMapping(process.argv[1] ?? "");
  return probe.isGuarded ? false : "this system has no file leases";
}
const skip = guarded();

test("a file that is cut while it is mapped keeps its bytes in memory, and the cut goes ahead", { skip }, async () => {
  const { path, mapping } = await mapped("cut");
  const { address } = mapping;
  await truncate(path, 10);
  assert.equal((await stat(path)).size, 10);
  assert.equal(mapping.address, address, "tensors over it stay where they are");
  assert.ok(isWhole(mapping));
  await truncate(path, 0);
  assert.ok(isWhole(mapping));
  mapping[Symbol.dispose]();
});

test("a file that is overwritten while it is mapped keeps its bytes in memory", { skip }, async () => {
  const { path, mapping } = await mapped("overwritten");
  const other = new FileMapping(path);
  const file = await open(path, "r+");
  await file.write(Buffer.alloc(length, 9), 0, length, 0);
  await file.close();
  assert.ok(isWhole(mapping));
  assert.ok(isWhole(other));
  assert.ok((await readFile(path)).equals(Buffer.alloc(length, 9)));
  mapping[Symbol.dispose]();
  other[Symbol.dispose]();
});

test("a mapping that is given up leaves nothing that a writer waits for", { skip }, async () => {
  const { path, mapping } = await mapped("given-up");
  mapping[Symbol.dispose]();
  mapping[Symbol.dispose]();
  await truncate(path, 10);
  assert.equal(process.listenerCount("SIGURG"), 0);
});

test("reading and removing a mapped file waits for nobody", { skip }, async () => {
  const { path, mapping } = await mapped("removed");
  assert.equal(spawnSync("cat", [path]).stdout.length, length);
  await rm(path);
  assert.ok(isWhole(mapping));
  mapping[Symbol.dispose]();
});

test("a file that has become shorter than its weights is refused before any of it is touched", {
  skip: canMap() ? false : "files cannot be mapped here",
}, async () => {
  const { path, mapping } = await mapped("short");
  mapping[Symbol.dispose]();
  await truncate(path, 100);
  using short = new FileMapping(path);
  assert.throws(() => new MappedTensor(short, "float32", [64], 0, 256), /is 100 bytes long; its weights need 256/);
});
