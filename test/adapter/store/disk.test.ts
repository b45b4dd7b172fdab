/** What a store costs by its size, and what it does when its disk is full, read-only, damaged, or removed. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdir, readFile, readlink, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { AdapterStore } from "../../../src/adapter/store/store.js";
import { deferred } from "../../../src/base/async.js";
import { FolderLock } from "../../../src/base/lock.js";
import { lifeOf, ownerKey } from "../../../src/base/owner.js";
import { stageText } from "../../support/fake-check.js";
import { type Faults, fullDisk, withFaults } from "../../support/faulty-files.js";
import { rejects } from "../../support/rejects.js";
import { freshStores } from "./fresh.js";

const fresh = await freshStores("disk");
const { open: openHere } = fresh;

const put = async (store: AdapterStore, name: string, text: string) => store.put(name, await stageText(store, text));
const names = (store: AdapterStore): string[] => store.list().map((record) => record.name);
const versions = async (store: AdapterStore): Promise<number> => (await store.usage()).versions;
const inStore = (...path: string[]): string => join(fresh.directory, ".store", ...path);

/** How often files and folders of the store are looked at while a task runs. */
async function looks(task: () => Promise<unknown>): Promise<number> {
  let found = 0;
  const look = (path: string): null => {
    if (path.includes(".store")) found++;
    return null;
  };
  await withFaults({ stat: look, lstat: look, open: look, readdir: look }, task);
  return found;
}

/** Writes more names of a stored digest into a closed store's index. */
async function addNames(digest: string, from: number, to: number): Promise<void> {
  for (let i = from; i < to; i++) {
    const file = `${createHash("sha256").update(`many-${i}`).digest("hex")}.json`;
    await writeFile(inStore("names", file), JSON.stringify({ name: `many-${i}`, digest, createdAt: 1, previous: [] }));
  }
}

test("a put, a removal and a refresh read as much among 300 names as among 10, of this store or another", async () => {
  const first = await openHere();
  const { digest } = (await put(first, "a", "v1")).record;
  await first.close();
  const costs: number[][] = [];
  for (const [from, to] of [
    [0, 10],
    [10, 300],
  ] as const) {
    await addNames(digest, from, to);
    const here = await openHere();
    const there = await openHere();
    assert.equal(names(here).length, to + 1);
    await put(here, "b", "v2");
    await there.scan();
    const cost = [
      await looks(() => put(here, "b", "v3")),
      await looks(() => there.scan()),
      await looks(() => there.remove("b")),
      await looks(() => here.scan()),
      await looks(() => here.scan()),
      await looks(() => put(here, "a", "v1")),
    ];
    assert.deepEqual([names(here).length, names(there).length], [to + 1, to + 1]);
    await here.close();
    await there.close();
    costs.push(cost);
  }
  for (const [i, cost] of (costs[0] ?? []).entries()) {
    const more = (costs[1]?.[i] ?? 0) - cost;
    assert.ok(more < 100, `step ${i}: ${cost} looks among 10 names, ${costs[1]?.[i]} among 300`);
  }
});

test("changes by others are seen after a gap in the lock's history and after a manual edit of the index", async () => {
  const here = await openHere();
  const there = await openHere();
  await put(here, "a", "v1");
  for (let i = 0; i < 3; i++) await put(there, "b", `v${i}`);
  for (const number of await readdir(inStore("locks"))) await rm(inStore("locks", number, "changes"), { force: true });
  await here.scan();
  assert.deepEqual(names(here), ["a", "b"]);
  assert.equal(here.resolve("b")?.digest, there.resolve("b")?.digest);
  const [file = ""] = await readdir(inStore("names"));
  const text = await readFile(inStore("names", file), "utf8");
  await rm(inStore("names", file));
  await utimes(inStore("names"), 1, 1);
  await here.scan();
  assert.equal(names(here).length, 1);
  await writeFile(inStore("names", file), text);
  await utimes(inStore("names"), 2, 2);
  await here.scan();
  assert.equal(names(here).length, 2);
});

test("adapters can be removed on a full disk, also after a start, and room that is made is used", async () => {
  const store = await openHere();
  for (const name of ["a", "b", "c", "d"]) await put(store, name, `v-${name}`);
  await withFaults(fullDisk, async () => {
    await rejects(put(store, "e", "v-e"), "store_full");
    await store.remove("a");
    await store.remove("b");
    assert.equal(await versions(store), 2);
    await store.close();
    const again = await openHere();
    await again.remove("c");
    assert.deepEqual([names(again), await versions(again)], [["d"], 1]);
  });
  const later = await openHere();
  assert.equal((await put(later, "e", "v-e")).outcome, "created");
  assert.deepEqual([names(later), await versions(later)], [["d", "e"], 2]);
});

test("a removal on a full disk is seen by another store, whether or not its lock could be kept", async () => {
  for (const symlinks of [1, Number.POSITIVE_INFINITY]) {
    const here = await openHere();
    const there = await openHere();
    await put(here, "a", "v1");
    await put(here, "b", "v2");
    await there.scan();
    let made = 0;
    const noInodes: Faults = { ...fullDisk, symlink: () => (++made > symlinks ? "ENOSPC" : null) };
    await withFaults(noInodes, () => here.remove("a"));
    await there.scan();
    assert.deepEqual([names(here), names(there)], [["b"], ["b"]]);
    assert.equal((await put(there, "a", "v3")).outcome, "created");
    await here.scan();
    assert.deepEqual(names(here), ["a", "b"]);
    await here.remove("a");
    await here.remove("b");
  }
});

function lockHere(waitMs = 20_000): FolderLock {
  const isAlive = async (key: string): Promise<boolean> => lifeOf(key) === "alive";
  return new FolderLock({ folder: join(fresh.directory, "locks"), key: ownerKey(), isAlive, waitMs });
}

test("a lock that was taken on a full disk holds against everyone else, and is passed over when its holder is dead", async () => {
  const [first, second] = [lockHere(), lockHere()];
  await second.run(async () => {});
  const before = await second.historySince(null);
  const [inside, leave] = [deferred<void>(), deferred<void>()];
  const holding = first.run(async () => {
    inside.resolve();
    await leave.promise;
  });
  await withFaults(fullDisk, () => inside.promise);
  assert.match(await readlink(join(fresh.directory, "locks", "2")), /^2\//);
  assert.equal((await second.historySince(before.mark)).isBusy, true);
  await rejects(
    lockHere(50).run(async () => {}),
    "conflict",
  );
  leave.resolve();
  await holding;
  assert.equal((await second.historySince(before.mark)).changes, null, "anything may have changed");
  assert.equal(await second.run(async ({ number }) => number), 3);
  const dead = ownerKey().replace(/\.\d+\./, ".1073741823.");
  await symlink(`4/${dead}`, join(fresh.directory, "locks", "4"));
  assert.equal(await lockHere().run(async ({ number }) => number), 5);
});

test("a removal on a disk too full even for a link says that the disk is full", async () => {
  const store = await openHere();
  await put(store, "a", "v1");
  await withFaults({ ...fullDisk, symlink: () => "ENOSPC" }, () => rejects(store.remove("a"), "store_full"));
  assert.deepEqual(names(store), ["a"]);
  await store.remove("a");
});

test("a store deleted while it is open is empty, and the next upload recreates it", async () => {
  const store = await openHere();
  const other = await openHere();
  await put(store, "a", "v1");
  await other.scan();
  await rm(inStore(), { recursive: true });
  await store.scan();
  assert.deepEqual(names(store), []);
  assert.equal((await put(store, "b", "v2")).outcome, "created");
  assert.equal((await put(store, "a", "v1")).outcome, "created");
  await other.scan();
  assert.deepEqual(
    [names(store), names(other)],
    [
      ["a", "b"],
      ["a", "b"],
    ],
  );
  assert.equal((await readdir(inStore("users"))).length >= 1, true);
  await rm(inStore(), { recursive: true });
  assert.equal((await put(other, "c", "v3")).outcome, "created", "without a look between");
  assert.deepEqual(names(other), ["c"]);
});

test("a folder that cannot be written is served, and a put and a removal say why they fail", async () => {
  const store = await openHere();
  await put(store, "a", "v1");
  await store.close();
  for (const code of ["EROFS", "EACCES", "EPERM"]) {
    const fault = (): string => code;
    const readOnly: Faults = { writeFile: fault, rename: fault, symlink: fault, rm: fault, mkdir: fault };
    await withFaults(readOnly, async () => {
      const reader = await openHere();
      assert.deepEqual(names(reader), ["a"]);
      await rejects(reader.stage(), "conflict");
      await rejects(reader.remove("a"), "conflict");
      assert.deepEqual(names(reader), ["a"]);
    });
  }
});

test("without a file handle a put and a removal say so, and nothing is lost", async () => {
  const store = await openHere();
  await put(store, "a", "v1");
  const staged = await stageText(store, "v2");
  const none: Faults = { open: () => "EMFILE", readdir: () => "EMFILE", writeFile: () => "EMFILE" };
  await withFaults(none, async () => {
    await rejects(store.remove("a"), "no_file_handles");
    await store.scan();
    assert.deepEqual(names(store), ["a"]);
    await assert.rejects(store.put("b", staged));
  });
  assert.equal((await put(store, "b", "v2")).outcome, "created");
  await store.remove("a");
  assert.deepEqual([names(store), await versions(store)], [["b"], 1]);
});

test("a damaged file of the index protects the versions that it may refer to, and no others", async () => {
  const store = await openHere();
  await put(store, "lost", "v1");
  const [file = ""] = await readdir(inStore("names"));
  const whole = await readFile(inStore("names", file), "utf8");
  await store.close();
  for (const text of ["", whole.slice(0, -20), "{}", "garbage"]) {
    await writeFile(inStore("names", file), text);
    const again = await openHere();
    await put(again, "a", "v2");
    await put(again, "a", "v3");
    await again.remove("a");
    assert.equal(await versions(again), 1, JSON.stringify(text));
    assert.equal(again.refused().length, 1);
    await again.close();
  }
  await writeFile(inStore("names", file), whole);
  assert.deepEqual(names(await openHere()), ["lost"]);
});
