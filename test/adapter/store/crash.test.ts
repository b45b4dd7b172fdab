/** A store survives the death of its writers at any moment, and several processes that write to it at once. */

import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, readFile, rename, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { AdapterStore } from "../../../src/adapter/store/store.js";
import { storeDefaults } from "../../../src/adapter/store/types.js";
import { silentMs } from "../../../src/adapter/store/users.js";
import { deferred } from "../../../src/base/async.js";
import { LorikeetError } from "../../../src/base/errors.js";
import { FolderLock } from "../../../src/base/lock.js";
import { lifeOf, ownerKey } from "../../../src/base/owner.js";
import { stageText } from "../../support/fake-check.js";
import { assertWhole } from "../../support/store-contract.js";
import { ending, folderPlace, start } from "./folder-place.js";
import { openStore } from "./writer.js";

let root = "";
before(async () => {
  root = await mkdtemp(join(tmpdir(), "lorikeet-crash-"));
});
after(() => rm(root, { recursive: true }));

/** The content that a name stands for. */
async function textOf(store: AdapterStore, name: string): Promise<string | null> {
  const record = store.resolve(name);
  if (!record) return null;
  return readFile(join(await store.folder(record.digest), "adapter_model.safetensors"), "utf8");
}

test("two containers on one volume write at once, and one that dies in a write is passed over once it is silent", async () => {
  const directory = join(root, "containers");
  await mkdir(directory);
  const rounds = 4;
  const hosts = ["x", "y"].map((mark) =>
    ending(start({ kind: "puts", directory, mark, rounds, host: `host-${mark}` })),
  );
  await Promise.all(hosts);
  const store = await openStore(directory, { limits: { lockWaitMs: 100 } });
  const left = [1, 2].flatMap((round) => [`x-${round}`, `y-${round}`]);
  assert.deepEqual(
    store.list().map((record) => record.name),
    [...left, "shared"].sort(),
  );
  const stuck = start({ kind: "stuck", directory, host: "host-z" });
  await new Promise((resolve) => stuck.stdout?.once("data", resolve));
  stuck.kill("SIGKILL");
  await new Promise((resolve) => stuck.once("close", resolve));
  await assert.rejects(
    store.put("next", await stageText(store, "next")),
    (error) => error instanceof LorikeetError && error.code === "conflict",
  );
  const late = await openStore(directory); // does not wait for the lock
  assert.ok(late.resolve("shared"));
  await late.close();
  await assert.rejects(
    store.put("next", await stageText(store, "next")),
    (error) => error instanceof LorikeetError && error.code === "conflict",
  );
  const users = join(directory, ".store", "users");
  for (const user of await readdir(users)) await utimes(join(users, user), 1, 1); // as after a silence
  await store.put("next", await stageText(store, "next"));
  await store.scan();
  assert.equal(await textOf(store, "next"), "next");
  assert.equal(store.resolve("stuck"), null);
  await assertWhole(store, folderPlace(directory));
  await store.close();
});

test("a write waits for longer than a process that died elsewhere is taken for alive", () => {
  assert.ok(storeDefaults.lockWaitMs > silentMs, `${storeDefaults.lockWaitMs} ms, ${silentMs} ms`);
});

function lockIn(directory: string, waitMs: number): FolderLock {
  const isAlive = async (key: string): Promise<boolean> => lifeOf(key) === "alive";
  return new FolderLock({ folder: join(directory, "locks"), key: ownerKey(), isAlive, waitMs });
}

test("under the lock nothing of another process happens in between", async () => {
  const directory = join(root, "count");
  await mkdir(directory);
  await writeFile(join(directory, "count"), "0");
  const rounds = 25;
  const counters = [1, 2, 3].map(() => ending(start({ kind: "count", directory, rounds })));
  await Promise.all(counters);
  assert.equal(await readFile(join(directory, "count"), "utf8"), String(3 * rounds));
});

test("a lock is waited for while its holder lives, for so long, and passed over when it has died", async () => {
  const directory = join(root, "held");
  await mkdir(directory);
  const holder = start({ kind: "hold", directory });
  await new Promise((resolve) => holder.stdout?.once("data", resolve));
  await assert.rejects(
    lockIn(directory, 100).run(async () => {}),
    (error) => {
      assert.ok(error instanceof LorikeetError && error.code === "conflict");
      assert.match(error.message, new RegExp(`id ${holder.pid}\\) .* at most 100 ms`));
      return true;
    },
  );
  const waiting = lockIn(directory, 20_000).run(async () => "mine");
  holder.kill("SIGKILL");
  assert.equal(await waiting, "mine");
});

test("those who saw the same dead holder do not both follow it", async () => {
  const directory = join(root, "race");
  let inside = 0;
  for (let round = 0; round < 5; round++) {
    const locks = Array.from({ length: 6 }, () => lockIn(directory, 20_000));
    await Promise.all(
      locks.map((lock) =>
        lock.run(async () => {
          assert.equal(++inside, 1);
          await new Promise((resolve) => setTimeout(resolve, 1));
          inside--;
        }),
      ),
    );
  }
  assert.ok((await readdir(join(directory, "locks"))).length <= 65, "old numbers are cleared away");
});

test("who holds the lock may take its folder away; who waited then holds the only lock of a new one", async () => {
  const directory = join(root, "taken-away");
  await mkdir(directory, { recursive: true });
  const held = lockIn(directory, 1_000);
  await held.run(async () => {});
  const [inside, asked, second] = [deferred<void>(), deferred<void>(), deferred<void>()];
  const holding = held.run(async () => {
    inside.resolve();
    await asked.promise;
    await rename(join(directory, "locks"), join(directory, "gone"));
    await second.promise;
  });
  await inside.promise;
  const waiting = lockIn(directory, 20_000).run(() => readdir(join(directory, "locks")));
  asked.resolve();
  assert.deepEqual(await waiting, ["1"], "numbers begin anew");
  second.resolve();
  await holding;
});

test("a task that fails gives the lock back", async () => {
  const lock = lockIn(join(root, "failing"), 1_000);
  await assert.rejects(
    lock.run(() => Promise.reject(new Error("no"))),
    /no/,
  );
  assert.equal(await lock.run(async () => "next"), "next");
});
