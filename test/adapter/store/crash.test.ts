/** A store survives the death of its writers at any moment, and several processes that write to it at once. */

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { cp, mkdir, mkdtemp, readdir, readFile, rename, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import type { AdapterStore } from "../../../src/adapter/store/store.js";
import { storeDefaults } from "../../../src/adapter/store/types.js";
import { silentMs } from "../../../src/adapter/store/users.js";
import { deferred } from "../../../src/base/async.js";
import { LorikeetError } from "../../../src/base/errors.js";
import { FolderLock } from "../../../src/base/lock.js";
import { lifeOf, ownerKey } from "../../../src/base/owner.js";
import { type Job, openStore, stageText } from "./writer.js";

let root = "";
before(async () => {
  root = await mkdtemp(join(tmpdir(), "lorikeet-crash-"));
});
after(() => rm(root, { recursive: true }));

function start(job: Job): ChildProcess {
  const extension = extname(fileURLToPath(import.meta.url)); // .ts under a loader, .js when compiled
  const writer = fileURLToPath(new URL(`./writer${extension}`, import.meta.url));
  const loader = extension === ".ts" ? ["--import", "tsx"] : [];
  return spawn(process.execPath, [...loader, writer, JSON.stringify(job)], { stdio: ["ignore", "pipe", "inherit"] });
}

interface Ending {
  readonly signal: string | null;
  readonly done: unknown;
}

async function ending(child: ChildProcess): Promise<Ending> {
  let text = "";
  child.stdout?.setEncoding("utf8").on("data", (chunk: string) => {
    text += chunk;
  });
  const [code, signal] = await new Promise<[number | null, string | null]>((resolve) =>
    child.on("close", (...result) => resolve(result)),
  );
  if (signal === null) assert.equal(code, 0, "the writer ended well");
  return { signal, done: text === "" ? null : JSON.parse(text).done };
}

/** The content that a name stands for. */
async function textOf(store: AdapterStore, name: string): Promise<string | null> {
  const record = store.resolve(name);
  if (!record) return null;
  return readFile(join(await store.folder(record.digest), "adapter_model.safetensors"), "utf8");
}

async function assertWhole(store: AdapterStore, directory: string): Promise<void> {
  for await (const { name, error } of store.verify()) assert.equal(error, null, `${name} is whole`);
  const digests = new Set(store.list().map((record) => record.digest));
  assert.equal((await store.usage()).versions, digests.size, "no version without a name is left");
  const inside = join(directory, ".store");
  assert.deepEqual(await readdir(join(inside, "tmp")), [], "no scratch is left");
  assert.equal((await readdir(join(inside, "users"))).length, 1, "no dead process is registered");
  const odd = (await readdir(join(inside, "names"))).filter((file) => !/^[0-9a-f]{64}\.json$/.test(file));
  assert.deepEqual(odd, []);
  const drafts = (await readdir(join(inside, "locks"))).filter((file) => !/^[0-9]+$/.test(file));
  assert.deepEqual(drafts, [], "no half-made lock is left");
}

test("a writer killed at any operation leaves each name old or new, whole, in order, and no leftovers", async () => {
  const template = join(root, "template");
  await mkdir(template);
  const prepared = await openStore(template);
  await prepared.put("a", await stageText(prepared, "old a"));
  await prepared.put("c", await stageText(prepared, "old c"));
  await prepared.close();

  const crash = async (killAt: number): Promise<Ending> => {
    const directory = join(root, `crash-${killAt}`);
    await cp(template, directory, { recursive: true });
    const end = await ending(start({ kind: "crash", directory, killAt }));
    const store = await openStore(directory);
    const state = async (): Promise<string> => {
      const texts = [await textOf(store, "a"), await textOf(store, "b"), await textOf(store, "c")];
      return texts.map(String).join("|");
    };
    const found = await state();
    const allowed = ["old a|null|old c", "new a|null|old c", "new a|new b|old c", "new a|new b|null"];
    assert.ok(allowed.includes(found), `${found} after a death at ${killAt}`);
    if (end.signal === null) assert.equal(found, "new a|new b|null");
    await assertWhole(store, directory);
    await store.put("a", await stageText(store, "newest a"));
    assert.equal(await textOf(store, "a"), "newest a", "the next writer is not held up");
    await store.close();
    return end;
  };

  const undisturbed = await crash(0);
  const operations = Number(undisturbed.done);
  assert.ok(operations > 50, `${operations} operations`);
  const kills = 15;
  const moments = Array.from({ length: kills }, (_, i) => 1 + Math.floor(((i + 0.5) * operations) / kills));
  for (let i = 0; i < kills; i += 3) {
    const ends = await Promise.all(moments.slice(i, i + 3).map(crash));
    for (const { signal } of ends) assert.equal(signal, "SIGKILL");
  }
});

test("two processes write at once: every put and removal of both takes effect, and a third sees them", async () => {
  const directory = join(root, "both");
  await mkdir(directory);
  const store = await openStore(directory);
  const rounds = 7;
  const writers = ["x", "y"].map((mark) => ending(start({ kind: "puts", directory, mark, rounds })));
  await Promise.all(writers);
  await store.put("mine", await stageText(store, "mine"));
  await store.scan();
  const names = store.list().map((record) => record.name);
  const left = [1, 2, 4, 5].flatMap((round) => [`x-${round}`, `y-${round}`]);
  assert.deepEqual(names, [...left, "mine", "shared"].sort());
  assert.match((await textOf(store, "shared")) ?? "", /^shared [xy] 6$/);
  await store.close();
  const again = await openStore(directory);
  await assertWhole(again, directory);
  await again.close();
});

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
  await assertWhole(store, directory);
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
