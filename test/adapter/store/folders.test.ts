/** What an operator may put into the adapters folder, and the disk may do to it, without a wait, a leak or a lost adapter. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import fs, { mkdir, open, readFile, rm, stat, symlink, utimes, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { test } from "node:test";
import { describeAdapter } from "../../../src/adapter/format.js";
import type { AdapterStore, StoreOptions } from "../../../src/adapter/store/store.js";
import { packTar } from "../../../src/adapter/upload/upload.js";
import { LorikeetError } from "../../../src/base/errors.js";
import { openRegular } from "../../../src/base/files.js";
import { openCheckpoint } from "../../../src/model/checkpoint/open.js";
import { loadTokenizer } from "../../../src/text/tokenizer/tokenizer.js";
import { WeightContents } from "../../../src/weights/cache/contents.js";
import { fakeCheck, stageText } from "../../support/fake-check.js";
import { withFaults } from "../../support/faulty-files.js";
import { freshStores } from "./fresh.js";

const fresh = await freshStores("folders");
const { root, open: openHere } = fresh;

async function drop(name: string, text: string, more: Record<string, string> = {}): Promise<string> {
  const folder = join(fresh.directory, name);
  await mkdir(folder, { recursive: true });
  const files = { "adapter_config.json": "{}", "adapter_model.safetensors": text, ...more };
  for (const [file, content] of Object.entries(files)) await writeFile(join(folder, file), content);
  return folder;
}

const pipe = (path: string): unknown => assert.equal(spawnSync("mkfifo", [path]).status, 0);
const names = (store: AdapterStore): string[] => store.list().map((record) => record.name);
const describe = (folder: string) => describeAdapter(folder, null);
const download = async (folder: string): Promise<string> => (await buffer(packTar(folder))).toString("latin1");

test("pipes, sockets, devices and folders in the place of files are faults, never waited for", async () => {
  for (const file of ["adapter_config.json", "adapter_model.safetensors", "README.md", "lorikeet.json"]) {
    const folder = await drop(`pipe-${file}`, "v1");
    await rm(join(folder, file), { force: true });
    pipe(join(folder, file));
  }
  const device = await drop("device", "v1");
  await rm(join(device, "adapter_config.json"));
  await symlink("/dev/zero", join(device, "adapter_config.json"));
  const socket = await drop("socket", "v1");
  await rm(join(socket, "adapter_config.json"));
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(join(socket, "adapter_config.json"), resolve));
  try {
    const store = await openHere({ check: describe });
    assert.deepEqual(names(store), []);
    const reasons = store.refused().map(({ name, error }) => `${name}: ${error.message}`);
    assert.equal(reasons.length, 6);
    assert.match(reasons.find((reason) => reason.startsWith("pipe-adapter_config.json")) ?? "", /not a regular file/);
    assert.match(reasons.find((reason) => reason.startsWith("device")) ?? "", /not a regular file/);
    assert.match(reasons.find((reason) => reason.startsWith("socket")) ?? "", /not a regular file/);
    await store.scan();
  } finally {
    server.close();
  }
});

test("a pipe beside an adapter does not decide whether it is served", async () => {
  const folder = await drop("plays", "v1");
  pipe(join(folder, "README.md"));
  assert.deepEqual(names(await openHere()), ["plays"]);
  assert.doesNotMatch(await download(folder), /README/);
});

test("pipes inside the store itself are not waited for", async () => {
  const store = await openHere();
  await store.close();
  const inside = join(fresh.directory, ".store");
  for (const name of ["names", "users", "locks", "tmp"]) await mkdir(join(inside, name), { recursive: true });
  pipe(join(inside, "names", `${"0".repeat(64)}.json`));
  pipe(join(inside, "users", "somebody"));
  const again = await openHere();
  assert.equal(again.refused().length, 1);
});

test("pipes in a model's folder are faults", async () => {
  pipe(join(fresh.directory, "config.json"));
  await assert.rejects(openCheckpoint(fresh.directory), /not a regular file/);
  pipe(join(fresh.directory, "tokenizer.json"));
  await assert.rejects(loadTokenizer(fresh.directory), /not a regular file/);
  const contents = await WeightContents.open(fresh.directory);
  await assert.rejects(contents.digest(join(fresh.directory, "config.json")), /cannot be read/);
  await assert.rejects(openRegular("/dev/null"), /not a regular file/);
});

test("a link beside an adapter is never followed: its target is neither downloaded nor copied", async () => {
  await writeFile(join(root, "secret"), "the secret");
  const folder = await drop("plays", "v1");
  for (const file of ["README.md", "chat_template.jinja", "lorikeet.json"]) {
    await symlink(join(root, "secret"), join(folder, file));
  }
  const store = await openHere();
  assert.doesNotMatch(await download(await store.folder(store.resolve("plays")?.digest ?? "")), /secret/);
  const staged = await store.stageCopy(folder);
  assert.deepEqual((await fs.readdir(staged)).sort(), ["adapter_config.json", "adapter_model.safetensors"]);
  await rm(staged, { recursive: true });
});

test("an adapter in a Hugging Face cache, whose files are links, is served", async () => {
  const cache = join(root, "hub", "models--org--plays");
  await mkdir(join(cache, "blobs"), { recursive: true });
  await mkdir(join(cache, "snapshots", "abc"), { recursive: true });
  for (const [file, text] of [
    ["adapter_config.json", "{}"],
    ["adapter_model.safetensors", "v1"],
  ] as const) {
    await writeFile(join(cache, "blobs", `of-${file}`), text);
    await symlink(`../../blobs/of-${file}`, join(cache, "snapshots", "abc", file));
  }
  await symlink(join(cache, "snapshots", "abc"), join(fresh.directory, "plays"));
  const store = await openHere();
  assert.deepEqual(names(store), ["plays"]);
  assert.match(await download(join(fresh.directory, "plays")), /adapter_model\.safetensors/);
});

test("a file rewritten in place with its size and times kept is noticed", async () => {
  const folder = await drop("plays", "version 1");
  const path = join(folder, "adapter_model.safetensors");
  await utimes(path, 1, 1);
  const store = await openHere();
  const before = store.resolve("plays")?.digest;
  const { ctimeNs } = await stat(path, { bigint: true });
  do {
    await using file = await open(path, "r+");
    await file.write("version 2");
    await file.utimes(1, 1);
  } while ((await stat(path, { bigint: true })).ctimeNs === ctimeNs);
  assert.equal((await stat(path)).mtimeMs, 1_000);
  await store.scan();
  await store.scan();
  assert.notEqual(store.resolve("plays")?.digest, before);
});

test("adapters whose folders cannot be listed for a while stay; those that are gone or withdrawn go", async () => {
  const folder = await drop("plays", "v1");
  await drop("org/inner", "v2");
  const told: string[] = [];
  const keep = (_: object, message: string): unknown => told.push(message);
  const logger = { debug: () => {}, info: keep, warn: keep, error: keep };
  const store = await openHere({ logger });
  const isInside = (path: string): boolean => path.startsWith(fresh.directory) && !path.includes(".store");
  for (const code of ["EMFILE", "ENFILE", "EIO", "ENOMEM"]) {
    await withFaults({ readdir: (path) => (isInside(path) ? code : null) }, () => store.scan());
    const isOne = (path: string): boolean => path === folder || path.endsWith("org");
    await withFaults({ readdir: (path) => (isOne(path) ? code : null) }, () => store.scan());
    assert.deepEqual(names(store), ["org/inner", "plays"], code);
  }
  assert.ok(told.some((message) => /could not be read; their last known state/.test(message)));
  assert.ok(!told.some((message) => /was removed/.test(message)));
  await withFaults({ readdir: (path) => (path === folder ? "EACCES" : null) }, () => store.scan());
  assert.deepEqual(names(store), ["org/inner"]);
});

test("an adapter that cannot be checked for lack of a file handle keeps its state, and is checked again", async () => {
  const folder = await drop("plays", "v1");
  let shortage = false;
  const check: StoreOptions["check"] = async (checked) => {
    if (shortage) throw new LorikeetError("no_file_handles", "None is free.");
    return fakeCheck(checked);
  };
  const store = await openHere({ check });
  const before = store.resolve("plays")?.digest;
  await writeFile(join(folder, "adapter_model.safetensors"), "another");
  shortage = true;
  await store.scan();
  await store.scan();
  assert.equal(store.resolve("plays")?.digest, before);
  shortage = false;
  await store.scan();
  assert.notEqual(store.resolve("plays")?.digest, before);
});

test("at the limit of file handles a check says so, and does not blame the adapter", async () => {
  const folder = join("adapters", "plays");
  for (const file of ["adapter_config.json", "adapter_model.safetensors"]) {
    await withFaults({ open: (path) => (path.endsWith(file) ? "EMFILE" : null) }, () =>
      assert.rejects(describe(folder), (error) => error instanceof LorikeetError && error.code === "no_file_handles"),
    );
  }
  assert.ok((await readFile(join(folder, "adapter_config.json"))).length > 0);
});

/** A folder of adapters beside the directory, and the checks that it saw: each folder's name with the base that it was checked against. */
async function besides(name: string, adapters: Record<string, string>) {
  const directory = join(root, `${name}-own`);
  for (const [adapter, text] of Object.entries(adapters)) {
    await mkdir(join(directory, adapter), { recursive: true });
    await writeFile(join(directory, adapter, "adapter_config.json"), "{}");
    await writeFile(join(directory, adapter, "adapter_model.safetensors"), text);
  }
  return directory;
}

const bases: StoreOptions["bases"] = [
  { name: "first", checkKey: "first" },
  { name: "second", checkKey: "second" },
];
/** Adapters fit the first base, unless they are checked for another. */
const checkFor: StoreOptions["check"] = async (folder, { base } = {}) => ({
  ...(await fakeCheck(folder)),
  base: base ?? "first",
});
const reasonsOf = (store: AdapterStore) => store.refused().map(({ error }) => error.message);
const origins = (store: AdapterStore) => store.list().map(({ name, base, source }) => [name, base, source]);

test("a base's own adapters belong to it, and are read, never written", async () => {
  const own = await besides("written", { negative: "v1", plays: "v2" });
  await drop("plays", "v3");
  const store = await openHere({ bases, check: checkFor, own: [{ base: "second", directory: own }] });
  const expected = [
    ["negative", "second", "base"],
    ["plays", "first", "folder"],
  ];
  assert.deepEqual(origins(store), expected);
  const reason =
    'The folder "plays" that came with the base "second" is not served: a folder in the adapters folder has the same name.';
  assert.deepEqual(reasonsOf(store), [reason]);
  const message = /The adapter "negative" came with the base "second" and cannot be replaced or deleted/;
  await assert.rejects(store.remove("negative"), message);
  await assert.rejects(store.put("negative", await stageText(store, "v4")), message);
  await store.put("other", await stageText(store, "v4"));
  assert.deepEqual((await fs.readdir(own)).sort(), ["negative", "plays"]);
  await rm(join(own, "negative"), { recursive: true });
  await besides("written", { late: "v5" });
  await store.scan();
  await store.scan();
  assert.deepEqual(names(store), ["late", "other", "plays"]);
});

test("an operator's folder with a fault keeps its name from a base's own adapter", async () => {
  const own = await besides("kept", { broken: "v1", looped: "v2", plays: "v3" });
  const folders = {
    broken: await drop("broken", "o1"),
    looped: await drop("looped", "o2"),
    plays: await drop("plays", "o3"),
  };
  const loop = async (folder: string): Promise<void> => {
    await rm(join(folder, "adapter_model.safetensors"));
    await symlink("adapter_model.safetensors", join(folder, "adapter_model.safetensors"));
  };
  await loop(folders.looped);
  const told: string[] = [];
  const logger = {
    debug: () => {},
    info: () => {},
    error: () => {},
    warn: (_: object, text: string) => told.push(text),
  };
  const store = await openHere({ bases, check: checkFor, own: [{ base: "second", directory: own }], logger });
  const served = () => origins(store).map(([name, , source]) => [name, source]);
  assert.deepEqual(served(), [
    ["broken", "folder"],
    ["plays", "folder"],
  ]);
  const before = store.resolve("plays")?.digest;
  await loop(folders.plays);
  await writeFile(join(folders.broken, "adapter_model.safetensors"), '"bad"');
  for (let turn = 0; turn < 3; turn++) await store.scan();
  assert.deepEqual(served(), [["plays", "folder"]], "the last known state, and nothing in place of an invalid one");
  assert.equal(store.resolve("plays")?.digest, before);
  const taken = (name: string): string =>
    `The folder "${name}" that came with the base "second" is not served: a folder in the adapters folder has the same name.`;
  const unread = 'The folder of the adapter "looped" could not be read.';
  const all = ["The config is bad.", unread, ...["broken", "looped", "plays"].map(taken)];
  assert.deepEqual(reasonsOf(store).sort(), all.sort());
  for (const name of ["broken", "looped", "plays"]) {
    assert.equal(told.filter((text) => text === taken(name)).length, 1, `${name} is in the log once`);
    await rm(join(fresh.directory, name), { recursive: true });
  }
  await store.scan();
  assert.ok(origins(store).every(([, base, source]) => base === "second" && source === "base"));
  assert.deepEqual([names(store), reasonsOf(store)], [["broken", "looped", "plays"], []]);
});

test("adapters of a model with two names belong to the first, and are refused by name for the second", async () => {
  const directory = await besides("twice", { plays: "v1" });
  const given = ["first", "second"].map((base) => ({ base, directory }));
  const store = await openHere({ directory: null, bases, check: checkFor, own: given });
  assert.deepEqual(origins(store), [["plays", "first", "base"]]);
  assert.deepEqual(reasonsOf(store), [
    'The folder "plays" that came with the base "second" is not served: a folder that came with the base "first" has the same name.',
  ]);
});

test("without a directory a store serves the bases' own adapters, and stores nothing", async () => {
  const own = await besides("alone", { negative: "v1" });
  const directories = [own, await besides("alone-too", { negative: "v2", plays: "v3" })];
  const given = directories.map((directory, index) => ({ base: index === 0 ? "first" : "second", directory }));
  const store = await openHere({ directory: null, bases, check: checkFor, own: given });
  assert.deepEqual(origins(store), [
    ["negative", "first", "base"],
    ["plays", "second", "base"],
  ]);
  assert.equal(await store.folder(store.resolve("negative")?.digest ?? ""), join(own, "negative"));
  await store.scan();
  await assert.rejects(store.stage(), /no adapters folder; the operator can set one with --adapters/);
  await assert.rejects(store.remove("negative"), /came with the base "first"/);
  await assert.rejects(store.remove("nothing"), /does not exist/);
  assert.deepEqual(await store.usage(), { versions: 0, bytes: 0, totalBytes: 20 * 2 ** 30 });
});

test("a base's own folder that is also the directory is the operator's", async () => {
  await drop("plays", "v1");
  const link = join(root, "same-own");
  await symlink(fresh.directory, link);
  const store = await openHere({ bases, check: checkFor, own: [{ base: "second", directory: link }] });
  assert.deepEqual(origins(store), [["plays", "first", "folder"]]);
});
