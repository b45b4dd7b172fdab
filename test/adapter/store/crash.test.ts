/** A store survives the death of its writers at any moment, and several processes that write to it at once. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { AdapterStore } from "../../../src/adapter/store/store.js";
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

/** As a container on this host: with process ids of its own, in which those of others mean nothing. */
const inContainer = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
const hasContainers = spawnSync(inContainer[0] ?? "", [...inContainer.slice(1), "true"]).status === 0;

test("two containers on one volume write at once, and one that dies in a write is passed over at once", {
  skip: hasContainers ? false : "no right to make process namespaces",
}, async () => {
  const directory = join(root, "containers");
  await mkdir(directory);
  const rounds = 4;
  await Promise.all(
    ["x", "y"].map((mark) => ending(start({ kind: "puts", directory, mark, rounds }, { under: inContainer }))),
  );
  const store = await openStore(directory, { limits: { lockWaitMs: 100 } });
  const left = [1, 2].flatMap((round) => [`x-${round}`, `y-${round}`]);
  assert.deepEqual(
    store.list().map((record) => record.name),
    [...left, "shared"].sort(),
  );
  const stuck = start({ kind: "stuck", directory }, { under: inContainer });
  await new Promise((resolve) => stuck.stdout?.once("data", resolve));
  await assert.rejects(
    store.put("next", await stageText(store, "next")),
    (error) => error instanceof LorikeetError && error.code === "conflict",
    "a process of another container is seen to live",
  );
  const late = await openStore(directory); // does not wait for the lock
  assert.ok(late.resolve("shared"));
  await late.close();
  stuck.kill("SIGKILL");
  await new Promise((resolve) => stuck.once("close", resolve));
  await store.close();
  const next = await openStore(directory, { limits: { lockWaitMs: 20_000 } }); // the kernel may still be ending the process
  await next.put("next", await stageText(next, "next"));
  assert.equal(await textOf(next, "next"), "next");
  assert.equal(next.resolve("stuck"), null);
  await next.scan();
  await assertWhole(next, folderPlace(directory));
  await next.close();
});

test("where the file system has no locks, a store is shared by processes that see each other", async () => {
  const directory = join(root, "unlocked");
  await mkdir(directory);
  const tryLock = () => "unsupported" as const;
  const stores = [await openStore(directory, { tryLock }), await openStore(directory, { tryLock })] as const;
  await Promise.all(stores.map(async (store, i) => store.put(`a-${i}`, await stageText(store, `v${i}`))));
  await stores[0].scan();
  assert.deepEqual(
    stores[0].list().map(({ name }) => name),
    ["a-0", "a-1"],
  );
  const users = join(directory, ".store", "users");
  const [living = ""] = await readdir(users);
  await writeFile(join(users, living.replace(/\.\d+\./, ".1073741823.")), "");
  await stores[0].scan();
  assert.equal((await readdir(users)).length, 2, "one of a process that has ended is removed");
  for (const store of stores) await store.close();
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

test("two processes that see the same dead holder do not both take its lock", async () => {
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

test("the holder may delete the lock's folder; a waiting process then holds the only lock of the new one", async () => {
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

test("a task that fails releases the lock", async () => {
  const lock = lockIn(join(root, "failing"), 1_000);
  await assert.rejects(
    lock.run(() => Promise.reject(new Error("no"))),
    /no/,
  );
  assert.equal(await lock.run(async () => "next"), "next");
});
