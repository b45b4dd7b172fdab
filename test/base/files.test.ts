/** Only regular files are opened, without blocking; running out of file handles has its own error, for clients too. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { handleShortage, makeFolders, NotRegularFile, openRegular, readRegular } from "../../src/base/files.js";
import { toFault } from "../../src/server/fault.js";

const root = await mkdtemp(join(tmpdir(), "lorikeet-files-"));
after(() => rm(root, { recursive: true }));

test("a regular file is read, and anything else is refused without blocking", async () => {
  const [file, link, pipe] = ["file", "link", "pipe"].map((name) => join(root, name)) as [string, string, string];
  await writeFile(file, "text");
  await symlink(file, link);
  assert.equal(spawnSync("mkfifo", [pipe]).status, 0);
  assert.equal(String(await readRegular(file)), "text");
  assert.equal(String(await readRegular(link)), "text");
  await assert.rejects(openRegular(link, { follow: false }), NotRegularFile);
  for (const other of [pipe, root, "/dev/zero"]) await assert.rejects(openRegular(other), NotRegularFile);
  await assert.rejects(openRegular(join(root, "nowhere")), { code: "ENOENT" });
});

test("running out of file handles is a 503, whatever part met it and whatever status a parser gave it", () => {
  for (const code of ["EMFILE", "ENFILE"]) {
    const met = Object.assign(new Error("too many open files"), { code, status: 400, type: "encoding.unsupported" });
    assert.equal(handleShortage(met)?.code, "no_file_handles");
    assert.equal(toFault(met, 1).status, 503);
    assert.equal(toFault(met, 1).retryAfterSeconds, 5);
  }
  assert.equal(handleShortage(Object.assign(new Error("gone"), { code: "ENOENT" })), null);
});

test("missing folders are created with their parents, once, and refused where a parent accepts none", async () => {
  const [top, path] = [join(root, "a"), join(root, "a", "b", "c")];
  assert.equal(await makeFolders(path), top);
  assert.equal(await makeFolders(path), undefined);
  assert.equal(await makeFolders(join(path, "d")), join(path, "d"));
  const many = Array.from({ length: 8 }, (_, i) => makeFolders(join(root, "e", "f", String(i))));
  for (const made of await Promise.all(many)) assert.ok(made === undefined || made.startsWith(join(root, "e")));
  await assert.rejects(makeFolders(join(root, "file", "x")), { code: "ENOTDIR" });
  await assert.rejects(makeFolders(join(root, "file")), { code: "EEXIST" });
  if (process.platform !== "linux") return;
  await assert.rejects(makeFolders("/proc/none/a/b"), /\/proc\/none cannot be created: \/proc accepts no new folders/);
});
