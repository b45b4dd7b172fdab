/**
 * Another process that writes to an adapter store, for the tests of crashes and of several processes at once. Started with a
 * job as JSON; says `{"done":...}` on its standard output.
 */

import { writeFileSync } from "node:fs";
import fs from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { AdapterStore, type StoreOptions } from "../../../src/adapter/store/store.js";
import { FolderLock } from "../../../src/base/lock.js";
import { lifeOf, ownerKey } from "../../../src/base/owner.js";
import { tryLockFile } from "../../../src/runtime/file-lock.js";
import { fakeCheck, stageText } from "../../support/fake-check.js";

export type Job =
  /** Replaces a, adds b, removes c, and dies at the operation on the file system of this number. */
  | { readonly kind: "crash"; readonly directory: string; readonly killAt: number }
  | { readonly kind: "puts"; readonly directory: string; readonly mark: string; readonly rounds: number }
  /** Opens the store and keeps a put under the lock until it is killed. */
  | { readonly kind: "stuck"; readonly directory: string }
  | { readonly kind: "count"; readonly directory: string; readonly rounds: number }
  /** Takes the lock and keeps it until it is killed. */
  | { readonly kind: "hold"; readonly directory: string };

export function openStore(directory: string, options: Partial<StoreOptions> = {}): Promise<AdapterStore> {
  return AdapterStore.open({
    ...{ directory, check: fakeCheck, tryLock: tryLockFile },
    bases: [{ name: null, checkKey: "base" }],
    ...options,
  });
}

/** Counts what changes the disk, and kills this process before (a write: in the middle of) the operation of that number. */
function dieAt(killAt: number): () => number {
  let count = 0;
  const next = (write?: () => void): void => {
    if (++count !== killAt) return;
    write?.();
    process.kill(process.pid, "SIGKILL");
    for (;;); // the signal is on its way
  };
  const { writeFile, rename, mkdir, rm, open } = fs;
  fs.writeFile = (path, data, options) => {
    next(() => {
      if (typeof path === "string" && typeof data === "string") writeFileSync(path, data.slice(0, data.length / 2));
    });
    return writeFile(path, data, options);
  };
  const counted =
    <A extends unknown[], R>(operation: (...args: A) => R) =>
    (...args: A): R => {
      next();
      return operation(...args);
    };
  fs.rename = counted(rename);
  fs.rm = counted(rm);
  fs.open = counted(open);
  Object.assign(fs, { mkdir: counted((path: string, options: { recursive: true }) => mkdir(path, options)) });
  syncBuiltinESMExports();
  return () => count;
}

const { rename } = fs;

async function run(job: Job): Promise<unknown> {
  if (job.kind === "crash") {
    const operations = dieAt(job.killAt);
    const store = await openStore(job.directory);
    await store.put("a", await stageText(store, "new a"));
    await store.put("b", await stageText(store, "new b"));
    await store.remove("c");
    await store.close();
    return operations();
  }
  if (job.kind === "stuck") {
    const store = await openStore(job.directory);
    const staged = await stageText(store, "stuck");
    fs.rename = async (from, to) => {
      if (String(to).includes("names")) {
        process.stdout.write(`${JSON.stringify({ done: "stuck" })}\n`);
        // The timer refers to the promise: without a reference, this call and the lock's file handle are garbage.
        await new Promise((resolve) => setInterval(() => Object.is(resolve, null), 1_000));
      }
      return rename(from, to);
    };
    syncBuiltinESMExports();
    return store.put("stuck", staged);
  }
  if (job.kind === "puts") {
    const store = await openStore(job.directory);
    for (let round = 0; round < job.rounds; round++) {
      await store.put(`${job.mark}-${round}`, await stageText(store, `${job.mark} ${round}`));
      await store.put("shared", await stageText(store, `shared ${job.mark} ${round}`));
      if (round % 3 === 0) await store.remove(`${job.mark}-${round}`);
    }
    await store.close();
    return job.rounds;
  }
  const isAlive = async (key: string): Promise<boolean> => lifeOf(key) === "alive";
  const lock = new FolderLock({ folder: join(job.directory, "locks"), key: ownerKey(), isAlive, waitMs: 20_000 });
  if (job.kind === "hold") {
    return lock.run(async () => {
      process.stdout.write(`${JSON.stringify({ done: "held" })}\n`);
      await new Promise(() => setInterval(() => {}, 1_000));
    });
  }
  const file = join(job.directory, "count");
  for (let round = 0; round < job.rounds; round++) {
    await lock.run(async () => {
      const before = Number(await fs.readFile(file, "utf8"));
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 2));
      await fs.writeFile(file, String(before + 1));
    });
  }
  return job.rounds;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const job: Job = JSON.parse(process.argv[2] ?? "");
  run(job).then((done) => process.stdout.write(`${JSON.stringify({ done })}\n`));
}
