/** What an adapter store promises: names, versions, holds, bounds, and the folders that an operator puts beside it. */

import assert from "node:assert/strict";
import { chmod, mkdir, mkdtemp, readdir, readFile, rename, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, beforeEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { checkName, nameFault } from "../../../src/adapter/names.js";
import type { AdapterStore, StoreOptions } from "../../../src/adapter/store/store.js";
import { deferred } from "../../../src/base/async.js";
import { type ErrorCode, LorikeetError } from "../../../src/base/errors.js";
import { fakeCheck, openStore, stageText } from "./writer.js";

const root = await mkdtemp(join(tmpdir(), "lorikeet-store-"));
let directory = "";
let opened: AdapterStore[] = [];
let count = 0;

beforeEach(async () => {
  directory = join(root, String(++count));
  await mkdir(directory);
});
afterEach(async () => {
  for (const store of opened) await store.close();
  opened = [];
});
after(() => rm(root, { recursive: true }));

async function open(options: Partial<StoreOptions> = {}): Promise<AdapterStore> {
  const store = await openStore(directory, options);
  opened.push(store);
  return store;
}

async function put(store: AdapterStore, name: string, text: string, options: { readonly ifNoneMatch?: "*" } = {}) {
  return store.put(name, await stageText(store, text), options);
}

async function rejects(work: Promise<unknown>, code: ErrorCode, message: RegExp = /./): Promise<void> {
  await assert.rejects(work, (error) => {
    assert.ok(error instanceof LorikeetError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, message);
    return true;
  });
}

async function drop(name: string, text: string): Promise<string> {
  const folder = join(directory, name);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "adapter_config.json"), "{}");
  await writeFile(join(folder, "adapter_model.safetensors"), text);
  return folder;
}

const names = (store: AdapterStore): string[] => store.list().map((record) => record.name);
const versions = async (store: AdapterStore): Promise<number> => (await store.usage()).versions;
const scratch = async (): Promise<string[]> => readdir(join(directory, ".store", "tmp"));

test("a name is one part or two, of letters, digits, dots, underscores and hyphens, and none of the base's", () => {
  for (const name of ["a", "A1", "org/name", "a.b_c-d", "x".repeat(96), `${"x".repeat(96)}/${"y".repeat(96)}`]) {
    checkName(name);
  }
  const bad = [
    "",
    "/",
    "a/",
    "/a",
    "a/b/c",
    ".a",
    "-a",
    "_a",
    "a b",
    "a\n",
    "../a",
    "a/../b",
    "é",
    "x".repeat(97),
    "a\u0000",
    "a%2Fb",
  ];
  for (const name of bad) assert.equal(nameFault(name)?.code, "invalid_name", JSON.stringify(name));
  for (const name of ["base", "BASE", "Alias"]) {
    assert.match(nameFault(name, ["base", "alias"])?.message ?? "", /base model's name/);
  }
  fc.assert(
    fc.property(fc.string(), (name) => {
      const allowed = /^[A-Za-z0-9][A-Za-z0-9._-]{0,95}(\/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?$/.test(name);
      assert.equal(nameFault(name) === null, allowed);
    }),
  );
});

test("what is put is there at once, and after opening again", async () => {
  const store = await open();
  const { record, outcome } = await store.put(
    "org/plays",
    await stageText(store, "v1", { "README.md": "# Plays", "x.pt": "" }),
  );
  assert.equal(outcome, "created");
  assert.deepEqual(
    { ...record, digest: "", weightsDigest: "", createdAt: 0 },
    {
      name: "org/plays",
      source: "store",
      digest: "",
      weightsDigest: "",
      rank: 8,
      dora: false,
      modules: 4,
      bytes: 4,
      activeBytes: 8,
      createdAt: 0,
      scales: { min: 2, max: 2 },
      warnings: [],
      ignored: ["x.pt"],
    },
  );
  assert.deepEqual(store.resolve("org/plays"), record);
  const folder = await store.folder(record.digest);
  assert.ok(folder.endsWith(join(".store", record.digest.replace(":", "-"))), "its place comes from its digest");
  assert.deepEqual((await readdir(folder)).sort(), [
    "README.md",
    "adapter_config.json",
    "adapter_model.safetensors",
    "lorikeet-summary.json",
  ]);
  assert.deepEqual(await scratch(), []);
  await store.close();
  const again = await open({ check: () => Promise.reject(new Error("needs no check")) });
  assert.deepEqual(again.list(), [record]);
});

test("a put says what it did; the same content again changes nothing, and two names share one version", async () => {
  const store = await open();
  const first = await put(store, "a", "v1");
  const same = await put(store, "a", "v1");
  assert.equal(same.outcome, "identical");
  assert.equal(same.record.createdAt, first.record.createdAt);
  assert.equal((await put(store, "b", "v1")).outcome, "created");
  assert.equal(await versions(store), 1);
  assert.equal((await put(store, "a", "v2")).outcome, "replaced");
  assert.equal(await versions(store), 2);
  await store.remove("b");
  assert.equal(await versions(store), 1);
  assert.deepEqual(names(store), ["a"]);
});

test("If-None-Match: * refuses a name that exists; names differ in more than case", async () => {
  const store = await open({ reserved: ["base"] });
  await put(store, "Plays", "v1", { ifNoneMatch: "*" });
  await rejects(put(store, "Plays", "v2", { ifNoneMatch: "*" }), "precondition_failed");
  await rejects(put(store, "plays", "v2"), "conflict", /only in case/);
  await rejects(put(store, "Base", "v2"), "invalid_name");
  await rejects(put(store, "../x", "v2"), "invalid_name");
  assert.equal(store.resolve("plays"), null);
  await rejects(store.remove("plays"), "adapter_not_found");
  assert.deepEqual([await versions(store), await scratch()], [1, []]);
});

test("what does not pass the check, or can never be served, is not stored", async () => {
  const admit = (summary: { readonly bytes: number }): void => {
    if (summary.bytes > 100) throw new LorikeetError("adapter_too_large", "Too large.");
  };
  const store = await open({ admit });
  await rejects(put(store, "a", '"bad"'), "adapter_invalid", /bad/);
  await rejects(put(store, "a", "x".repeat(200)), "adapter_too_large");
  assert.deepEqual([names(store), await versions(store), await scratch()], [[], 0, []]);
});

test("a version outlives its name until its last hold is gone", async () => {
  const deleted: string[] = [];
  const store = await open({ observer: { deleted: (digest) => deleted.push(digest) } });
  const { record } = await put(store, "a", "v1");
  const { digest } = record;
  const holds = [store.hold(record), store.hold(record)];
  await put(store, "a", "v2");
  await store.remove("a");
  assert.equal(store.resolve("a"), null, "new requests do not find it");
  const file = join(await store.folder(digest), "adapter_model.safetensors");
  assert.equal(await readFile(file, "utf8"), "v1");
  holds[0]?.();
  holds[0]?.(); // a second call must not count
  await store.scan();
  assert.equal(await readFile(file, "utf8"), "v1");
  holds[1]?.();
  await store.close();
  assert.equal(deleted.includes(digest), true);
  await rejects(store.folder(digest), "adapter_not_found");
});

test("a held version that gets a name again stays", async () => {
  const store = await open();
  const { record } = await put(store, "a", "v1");
  const { digest } = record;
  const release = store.hold(record);
  await store.remove("a");
  await put(store, "b", "v1");
  release();
  await store.close();
  assert.equal((await open()).resolve("b")?.digest, digest);
});

test("the bytes and names of a store are bounded", async () => {
  const store = await open({ limits: { totalBytes: 3_000, maxNames: 2 } });
  await put(store, "a", "a".repeat(1_500));
  await rejects(put(store, "b", "b".repeat(1_500)), "store_full", /at most 3000/);
  await put(store, "b", "a".repeat(1_500));
  await rejects(put(store, "c", "a".repeat(1_500)), "store_full", /at most 2 /);
  await store.remove("a");
  await store.remove("b");
  await put(store, "b", "b".repeat(1_500));
  assert.equal(await versions(store), 1);
});

test("a folder is copied in with the files that are kept; links out of the allowed place are refused", async () => {
  const store = await open();
  const source = join(root, "source");
  await mkdir(source);
  await writeFile(join(source, "adapter_config.json"), "{}");
  await writeFile(join(source, "optimizer.pt"), "x".repeat(1_000));
  await writeFile(join(root, "outside"), "v1");
  await symlink(join(root, "outside"), join(source, "adapter_model.safetensors"));
  await rejects(store.stageCopy(source, { within: source }), "invalid_value", /outside/);
  const { record } = await store.put("a", await store.stageCopy(source));
  assert.deepEqual(record.ignored, ["optimizer.pt"]);
  assert.equal(await readFile(join(source, "adapter_model.safetensors"), "utf8"), "v1", "the source is as it was");
  await rejects(store.stageCopy(join(root, "nowhere")), "invalid_value", /does not exist/);
  await assert.rejects(store.put("b", source), /Invariant/, "only what was staged here is ever emptied");
  assert.deepEqual(await scratch(), []);
});

test("folders are taken at the start at once, later when unchanged between two looks, and given up when they go", async () => {
  await drop("plays", "v1");
  await drop("org/inner", "v2");
  await mkdir(join(directory, "not-an-adapter"));
  const events: string[] = [];
  const observer = {
    named: (record: { readonly name: string }) => events.push(`+${record.name}`),
    unnamed: (record: { readonly name: string }) => events.push(`-${record.name}`),
  };
  const store = await open({ observer });
  assert.deepEqual(names(store), ["org/inner", "plays"]);
  assert.equal(store.resolve("plays")?.source, "folder");
  const late = await drop("late", "v3");
  await store.scan();
  assert.equal(store.resolve("late"), null, "seen once");
  await writeFile(join(late, "adapter_model.safetensors"), "v3, longer");
  await store.scan();
  assert.equal(store.resolve("late"), null, "it is still being written");
  await store.scan();
  const taken = store.resolve("late");
  assert.equal(await store.folder(taken?.digest ?? ""), late);
  await writeFile(join(late, "adapter_model.safetensors"), "v4 is another");
  await store.scan();
  await store.scan();
  assert.notEqual(store.resolve("late")?.digest, taken?.digest);
  await rm(late, { recursive: true });
  await store.scan();
  assert.equal(store.resolve("late"), null);
  assert.deepEqual(events, ["+org/inner", "+plays", "+late", "-late", "+late", "-late"]);
  await assert.rejects(readdir(join(directory, ".store")), /ENOENT/, "a directory that is only read stays as it is");
});

test("a folder belongs to the operator: its name can be neither put nor removed", async () => {
  const folder = await drop("plays", "v1");
  const store = await open();
  await rejects(put(store, "plays", "v2"), "conflict", /operator/);
  await rejects(put(store, "PLAYS", "v2"), "conflict", /operator/);
  await rejects(store.remove("plays"), "conflict", /operator/);
  assert.equal(await readFile(join(folder, "adapter_model.safetensors"), "utf8"), "v1");
});

test("one bad folder hinders no other, is listed with its reason, and is tried again when it changes", async () => {
  await drop("good", "v1");
  const bad = await drop("bad", '"bad"');
  await drop("with space", "v1");
  await drop("Base", "v1");
  await mkdir(join(directory, "empty"));
  await writeFile(join(directory, "empty", "adapter_model.bin"), "");
  const checked: string[] = [];
  const check: StoreOptions["check"] = (folder) => {
    checked.push(folder);
    return fakeCheck(folder);
  };
  const store = await open({ check, reserved: ["base"] });
  assert.deepEqual(names(store), ["good"]);
  const reasons = store.refused().map(({ name, error }) => `${name}: ${error.code}`);
  assert.deepEqual(reasons.sort(), [
    "Base: invalid_name",
    "bad: adapter_invalid",
    "empty: adapter_invalid",
    "with space: invalid_name",
  ]);
  const before = checked.length;
  await store.scan();
  await store.scan();
  assert.equal(checked.length, before, "what did not change is not checked again");
  await writeFile(join(bad, "adapter_model.safetensors"), "mended");
  await store.scan();
  await store.scan();
  assert.deepEqual(names(store), ["bad", "good"]);
});

test("where a folder and a stored adapter share a name, the first stays and the other is refused until it goes", async () => {
  const store = await open();
  await put(store, "plays", "v1");
  await drop("Plays", "v2");
  await store.scan();
  await store.scan();
  assert.equal(store.resolve("plays")?.source, "store");
  assert.match(store.refused()[0]?.error.message ?? "", /"Plays" is not served/);
  await store.remove("plays");
  await store.scan();
  assert.equal(store.resolve("Plays")?.source, "folder");
  assert.deepEqual(store.refused(), []);
});

test("start looks by itself", async () => {
  const store = await open({ limits: { scanMs: 10 } });
  store.start();
  await drop("late", "v1");
  for (let i = 0; i < 200 && !store.resolve("late"); i++) await sleep(10);
  assert.ok(store.resolve("late"));
});

test("what another opened store writes is seen at the next look, and its versions stay while they are held here", async () => {
  const here = await open();
  const there = await open();
  const { digest } = (await put(there, "a", "v1")).record;
  await here.scan();
  const known = here.resolve("a");
  assert.ok(known);
  const release = here.hold(known);
  await put(there, "a", "v2");
  await there.remove("a");
  await here.scan();
  assert.equal(here.resolve("a"), null);
  await there.scan();
  assert.ok(await here.folder(digest));
  await there.close();
  release();
  await here.scan();
  await rejects(here.folder(digest), "adapter_not_found");
  assert.equal(await versions(here), 0);
});

test("a put sees what another store wrote just before, without a look between", async () => {
  const here = await open();
  const there = await open();
  await put(there, "a", "v1");
  await rejects(put(here, "a", "v2", { ifNoneMatch: "*" }), "precondition_failed");
  assert.equal((await put(here, "a", "v1")).outcome, "identical");
  await there.remove("a");
  await rejects(here.remove("a"), "adapter_not_found");
});

test("puts and removals of one name at once happen one after the other", async () => {
  const store = await open();
  const outcomes = await Promise.all(
    Array.from({ length: 8 }, async (_, i) => (await put(store, "a", `v${i % 3}`)).outcome),
  );
  assert.equal(outcomes.filter((outcome) => outcome === "created").length, 1);
  assert.equal(await versions(store), 1);
  const removals = await Promise.allSettled([store.remove("a"), store.remove("a")]);
  assert.deepEqual(removals.map((result) => result.status).sort(), ["fulfilled", "rejected"]);
});

test("for another base every stored adapter is checked again, and one that does not fit is refused but can be removed", async () => {
  const store = await open();
  await put(store, "a", "fits");
  await put(store, "b", "does not");
  await store.close();
  const check: StoreOptions["check"] = async (folder) => {
    const text = await readFile(join(folder, "adapter_model.safetensors"), "utf8");
    if (text !== "fits") throw new LorikeetError("adapter_invalid", "It does not fit this base.");
    const { summary } = await fakeCheck(folder);
    return { summary: { ...summary, modules: 7 } };
  };
  const other = await open({ check, checkKey: "another" });
  assert.deepEqual(
    other.list().map(({ name, modules, ignored }) => [name, modules, ignored]),
    [["a", 7, []]],
  );
  assert.deepEqual(
    other.refused().map(({ name, error }) => [name, error.message]),
    [["b", "It does not fit this base."]],
  );
  assert.equal((await other.remove("b")).name, "b");
  assert.equal(await versions(other), 1);
  await other.close();
  for (const checkKey of ["another", "base"]) {
    const again = await open({ check: () => Promise.reject(new Error("needs no check")), checkKey });
    assert.equal(again.resolve("a")?.modules, checkKey === "base" ? 4 : 7);
  }
});

test("files that changed on disk, went missing, or an index that was damaged are told, and hinder no other", async () => {
  const store = await open();
  const [a, b] = [(await put(store, "a", "v1")).record, (await put(store, "b", "v2")).record];
  await put(store, "c", "v3");
  await writeFile(join(await store.folder(a.digest), "adapter_model.safetensors"), "changed");
  const verdicts: string[] = [];
  for await (const { name, error } of store.verify()) verdicts.push(`${name} ${error?.code ?? "whole"}`);
  assert.deepEqual(verdicts, ["a adapter_damaged", "b whole", "c whole"]);
  await store.close();
  await rm(await store.folder(b.digest), { recursive: true });
  const index = join(directory, ".store", "names");
  await writeFile(join(index, `${"0".repeat(64)}.json`), "{");
  const again = await open();
  assert.deepEqual(names(again), ["a", "c"]);
  assert.deepEqual(
    again.refused().map(({ error }) => error.code),
    ["adapter_invalid", "adapter_damaged"],
  );
  assert.equal((await put(again, "b", "v2")).outcome, "replaced", "putting it again mends it");
  assert.ok(again.resolve("b"));
});

test("while the index is damaged no version is deleted", async () => {
  const store = await open();
  await put(store, "a", "v1");
  const index = join(directory, ".store", "names");
  const [file = ""] = await readdir(index);
  const text = await readFile(join(index, file), "utf8");
  await writeFile(join(index, file), text.slice(0, 20));
  await utimes(index, new Date(), new Date());
  await put(store, "b", "v2");
  assert.equal(await versions(store), 2);
  await rename(join(index, file), join(index, "moved away by hand"));
  await store.scan();
  assert.equal(await versions(store), 1);
});

test("a directory that cannot be written is served, and a put says why it fails", {
  skip: process.getuid?.() === 0,
}, async () => {
  await drop("plays", "v1");
  await chmod(directory, 0o555);
  try {
    const store = await open();
    assert.deepEqual(names(store), ["plays"]);
    await rejects(store.stage(), "conflict", /cannot be written/);
  } finally {
    await chmod(directory, 0o755);
  }
});

test("a directory that is not there is refused", async () => {
  await rejects(openStore(join(directory, "nowhere")), "invalid_value", /nowhere/);
});

test("close waits for what is under way, to its whole, and nothing is written after it", async () => {
  const [checking, gate] = [deferred<void>(), deferred<void>()];
  const check = async (folder: string) => {
    checking.resolve();
    await gate.promise;
    return fakeCheck(folder);
  };
  const store = await open({ check });
  const putting = put(store, "late", "late");
  await checking.promise;
  const closing = store.close();
  gate.resolve();
  await closing;
  assert.deepEqual(await scratch(), []);
  assert.deepEqual(await readdir(join(directory, ".store", "users")), []);
  assert.equal((await putting).outcome, "created");
  await rejects(put(store, "later", "later"), "draining");
  await rejects(store.remove("late"), "draining");
  assert.deepEqual(
    await readdir(join(directory, ".store", "users")),
    [],
    "a store that is closed is not entered again",
  );
  assert.deepEqual(names(await open()), ["late"]);
});
