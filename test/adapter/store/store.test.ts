/** What the store in a folder has beyond the contract of stores: its names, its layout, and the folders that an operator adds next to it. */

import assert from "node:assert/strict";
import { chmod, mkdir, readdir, readFile, rename, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { checkName, nameFault } from "../../../src/adapter/names.js";
import type { AdapterStore, StoreOptions } from "../../../src/adapter/store/store.js";
import { fakeCheck, stageText } from "../../support/fake-check.js";
import { rejects } from "../../support/rejects.js";
import { freshStores } from "./fresh.js";
import { openStore } from "./writer.js";

const fresh = await freshStores("store");
const { root, open } = fresh;

async function put(store: AdapterStore, name: string, text: string, options: { readonly ifNoneMatch?: "*" } = {}) {
  return store.put(name, await stageText(store, text), options);
}

async function drop(name: string, text: string): Promise<string> {
  const folder = join(fresh.directory, name);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "adapter_config.json"), "{}");
  await writeFile(join(folder, "adapter_model.safetensors"), text);
  return folder;
}

const names = (store: AdapterStore): string[] => store.list().map((record) => record.name);
const versions = async (store: AdapterStore): Promise<number> => (await store.usage()).versions;
const scratch = async (): Promise<string[]> => readdir(join(fresh.directory, ".store", "tmp"));

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

test("a version's folder is named by its digest and contains its check result", async () => {
  const store = await open();
  const { record } = await put(store, "a", "v1");
  const folder = await store.folder(record.digest);
  assert.ok(folder.endsWith(join(".store", record.digest.replace(":", "-"))));
  assert.deepEqual((await readdir(folder)).sort(), [
    "adapter_config.json",
    "adapter_model.safetensors",
    "lorikeet-summary.json",
  ]);
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
  await mkdir(join(fresh.directory, "not-an-adapter"));
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
  await assert.rejects(
    readdir(join(fresh.directory, ".store")),
    /ENOENT/,
    "a directory that is only read stays as it is",
  );
});

test("a folder belongs to the operator: its name can be neither put nor removed", async () => {
  const folder = await drop("plays", "v1");
  const store = await open();
  await rejects(put(store, "plays", "v2"), "conflict", /operator/);
  await rejects(put(store, "PLAYS", "v2"), "conflict", /operator/);
  await rejects(store.remove("plays"), "conflict", /operator/);
  assert.equal(await readFile(join(folder, "adapter_model.safetensors"), "utf8"), "v1");
});

test("a bad folder affects no other, is listed with its reason, and is rechecked when it changes", async () => {
  await drop("good", "v1");
  const bad = await drop("bad", '"bad"');
  await drop("with space", "v1");
  await drop("Base", "v1");
  await mkdir(join(fresh.directory, "empty"));
  await writeFile(join(fresh.directory, "empty", "adapter_model.bin"), "");
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
  assert.match(
    store.refused()[0]?.error.message ?? "",
    /"Plays" in the adapters folder is not served: an uploaded adapter is called "plays", and names must differ in more than case/,
  );
  await store.remove("plays");
  await store.scan();
  assert.equal(store.resolve("Plays")?.source, "folder");
  assert.deepEqual(store.refused(), []);
});

test("start scans periodically", async () => {
  const store = await open({ limits: { scanMs: 10 } });
  store.start();
  await drop("late", "v1");
  for (let i = 0; i < 200 && !store.resolve("late"); i++) await sleep(10);
  assert.ok(store.resolve("late"));
});

test("changed files, missing files and a damaged index are reported and affect no other adapter", async () => {
  const store = await open();
  const [a, b] = [(await put(store, "a", "v1")).record, (await put(store, "b", "v2")).record];
  await put(store, "c", "v3");
  await writeFile(join(await store.folder(a.digest), "adapter_model.safetensors"), "changed");
  const verdicts: string[] = [];
  for await (const { name, error } of store.verify()) verdicts.push(`${name} ${error?.code ?? "whole"}`);
  assert.deepEqual(verdicts, ["a adapter_damaged", "b whole", "c whole"]);
  await store.close();
  await rm(await store.folder(b.digest), { recursive: true });
  const index = join(fresh.directory, ".store", "names");
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
  const index = join(fresh.directory, ".store", "names");
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
  await chmod(fresh.directory, 0o555);
  try {
    const store = await open();
    assert.deepEqual(names(store), ["plays"]);
    await rejects(store.stage(), "conflict", /cannot be written/);
  } finally {
    await chmod(fresh.directory, 0o755);
  }
});

test("a missing directory is refused", async () => {
  await rejects(openStore(join(fresh.directory, "nowhere")), "invalid_value", /nowhere/);
});
