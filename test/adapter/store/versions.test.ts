/** A version is every file that was sent; versions with equal weights share memory; damaged ones can be repaired. */

import assert from "node:assert/strict";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { checkAdapter, loadAdapter } from "../../../src/adapter/format.js";
import { AdapterStore, type StoreOptions } from "../../../src/adapter/store/store.js";
import { versionDigest } from "../../../src/adapter/store/version-digest.js";
import { packTar, Uploads } from "../../../src/adapter/upload/upload.js";
import { LorikeetError } from "../../../src/base/errors.js";
import { silent } from "../../../src/base/log.js";
import type { TargetModule } from "../../../src/model/blueprint.js";
import { openCheckpoint } from "../../../src/model/checkpoint/open.js";
import { targetModules } from "../../../src/model/modules.js";
import { tryLockFile } from "../../../src/runtime/file-lock.js";
import { stageText } from "../../support/fake-check.js";
import { rejects } from "../../support/rejects.js";
import { openStore } from "./writer.js";

const root = await mkdtemp(join(tmpdir(), "lorikeet-versions-"));
const fixture = "test/fixtures/store-of-tensor-digests";
const weights = "adapter_model.safetensors";
let modules: readonly TargetModule[] = [];
let directory = "";
let opened: AdapterStore[] = [];
let count = 0;

before(async () => {
  modules = targetModules((await openCheckpoint("models/bookworm-7m")).config);
});
beforeEach(async () => {
  directory = join(root, String(++count));
  await mkdir(directory);
});
afterEach(async () => {
  for (const store of opened) await store.close();
  opened = [];
});
after(() => rm(root, { recursive: true }));

async function openHere(options: Partial<StoreOptions> = {}): Promise<AdapterStore> {
  const store = await openStore(directory, options);
  opened.push(store);
  return store;
}

/** With the real check, and whatever was stored under this key taken as it is. */
async function openReal(checkKey: string): Promise<AdapterStore> {
  const check = (folder: string) => checkAdapter(folder, modules);
  const store = await AdapterStore.open({ directory, check, bases: [{ name: null, checkKey }], tryLock: tryLockFile });
  opened.push(store);
  return store;
}

const put = async (store: AdapterStore, name: string, text: string, more: Record<string, string> = {}) =>
  store.put(name, await stageText(store, text, more));

/** An operator's folder, named `hand`. */
async function putByHand(text: string): Promise<string> {
  const folder = join(directory, "hand");
  await mkdir(folder);
  await writeFile(join(folder, "adapter_config.json"), "{}");
  await writeFile(join(folder, weights), text);
  return folder;
}

/** What a download of a name holds. */
async function contentOf(store: AdapterStore, name: string): Promise<string> {
  const tar = packTar(await store.folder(store.resolve(name)?.digest ?? ""));
  return (await buffer(tar)).toString("latin1").replaceAll("\0", "");
}

const textOf = (store: AdapterStore, weightsDigest: string): Promise<string> =>
  store.read(weightsDigest, async (folder) => {
    const text = await readFile(join(folder, weights), "utf8").catch(() => "nothing");
    if (text.startsWith("damaged") || text === "nothing") throw new LorikeetError("digest_mismatch", "Other bytes.");
    return text;
  });

test("a version's digest covers every kept file, and no other", async () => {
  const folder = join(directory, "a");
  await cp("adapters/plays", folder, { recursive: true });
  const first = await versionDigest(folder);
  await writeFile(join(folder, "optimizer.pt"), "not kept");
  await utimes(join(folder, weights), 1, 1);
  assert.equal(await versionDigest(folder), first);
  for (const file of ["README.md", "chat_template.jinja", "lorikeet.json", "adapter_config.json", weights]) {
    const changed = join(directory, file);
    await cp(folder, changed, { recursive: true });
    await writeFile(join(changed, file), " ", { flag: "a" });
    assert.notEqual(await versionDigest(changed), first, file);
  }
});

test("a damaged version is reported as a server error, and repaired by the same files under any name", async () => {
  for (const name of ["a", "b"]) {
    const store = await openHere();
    const { record } = await put(store, "a", `v-${name}`);
    const path = join(await store.folder(record.digest), weights);
    await writeFile(path, "damaged");
    const error = await rejects(textOf(store, record.weightsDigest), "adapter_damaged");
    assert.equal(error.status, 500);
    assert.doesNotMatch(error.message, new RegExp(directory));
    assert.equal((await put(store, name, `v-${name}`)).record.digest, record.digest);
    assert.equal(await textOf(store, record.weightsDigest), `v-${name}`);
    assert.equal(await readFile(path, "utf8"), `v-${name}`);
    assert.equal((await put(store, name, `v-${name}`)).outcome, "identical", "once it is sound again");
    await store.remove(name);
  }
});

test("a version that is damaged when the store is opened is refused, and served again once it is repaired", async () => {
  const store = await openHere();
  const { record } = await put(store, "a", "v1");
  await put(store, "b", "v1");
  await writeFile(join(await store.folder(record.digest), weights), "damaged");
  await store.close();
  const again = await openHere({ bases: [{ name: null, checkKey: "another" }] });
  assert.deepEqual(
    again
      .refused()
      .map(({ name, error }) => `${name} ${error.code}`)
      .sort(),
    ["a adapter_damaged", "b adapter_damaged"],
  );
  await put(again, "c", "v1");
  assert.deepEqual(
    again.list().map(({ name }) => name),
    ["a", "b", "c"],
  );
});

test("if one version is damaged, another one with the same weights is read", async () => {
  const store = await openHere();
  const { record } = await put(store, "a", "v1", { "README.md": "one" });
  await put(store, "b", "v1", { "README.md": "two" });
  await writeFile(join(await store.folder(record.digest), weights), "damaged");
  assert.equal(await textOf(store, record.weightsDigest), "v1");
});

test("a version that is repaired while it is read is read again", async () => {
  const store = await openHere();
  const { record } = await put(store, "a", "v1");
  await writeFile(join(await store.folder(record.digest), weights), "damaged");
  let tries = 0;
  const read = store.read(record.weightsDigest, async (folder) => {
    if (tries++ === 0) {
      await put(store, "a", "v1");
      throw new LorikeetError("digest_mismatch", "Other bytes.");
    }
    return readFile(join(folder, weights), "utf8");
  });
  assert.equal(await read, "v1");
});

test("an operator's folder whose bytes have changed is checked again and then served", async () => {
  const folder = await putByHand("v1");
  const store = await openHere();
  const known = store.resolve("hand");
  assert.ok(known);
  const error = await rejects(
    store.read(known.weightsDigest, async () => {
      await writeFile(join(folder, weights), "v2");
      throw new LorikeetError("digest_mismatch", "Other bytes.");
    }),
    "adapter_changed",
  );
  assert.equal(error.status, 503);
  await store.scan();
  const now = store.resolve("hand");
  assert.ok(now && now.weightsDigest !== known.weightsDigest);
  assert.equal(await textOf(store, now.weightsDigest), "v2");
});

test("an operator's folder that a request holds is read without a store lookup, and a change of it is reported as such", async () => {
  const folder = await putByHand("v1");
  const errors: unknown[] = [];
  const store = await openHere({ logger: { ...silent, error: (fields) => errors.push(fields) } });
  const known = store.resolve("hand");
  assert.ok(known);
  const release = store.hold(known);
  const read: string[] = [];
  await store.read(known.weightsDigest, async (each) => read.push(each));
  assert.deepEqual(read, [folder]);
  await writeFile(join(folder, weights), "v2");
  await store.scan();
  await store.scan(); // a folder is taken once it has stayed the same
  assert.notEqual(store.resolve("hand")?.weightsDigest, known.weightsDigest);
  await rejects(textOf(store, known.weightsDigest), "adapter_changed");
  release();
  await rejects(textOf(store, known.weightsDigest), "adapter_not_found");
  assert.deepEqual(errors, []);
});

test("a version that is held by its store's name and by a folder's is read from either place", async () => {
  const folder = await putByHand("v1");
  const store = await openHere();
  const known = store.resolve("hand");
  assert.ok(known);
  const { record } = await put(store, "stored", "v1");
  assert.equal(record.digest, known.digest);
  const releases = [store.hold(known), store.hold(record)];
  await store.remove("stored");
  await rm(folder, { recursive: true });
  await store.scan();
  assert.equal(await textOf(store, record.weightsDigest), "v1");
  for (const release of releases) release();
});

test("a store of versions that are known by their tensors opens unchanged, and its adapters load", async () => {
  await cp(fixture, directory, { recursive: true });
  const summaries = await Promise.all(["bookworm-7m as it was", "another base"].map(openReal));
  for (const store of summaries) {
    assert.deepEqual(
      store.list().map(({ name, modules, rank }) => [name, modules, rank]),
      [
        ["first", 1, 2],
        ["org/second", 1, 2],
        ["third", 1, 2],
      ],
    );
    assert.deepEqual(store.refused(), []);
    for (const { digest, weightsDigest } of store.list()) {
      assert.equal(digest, weightsDigest);
      assert.equal((await store.folder(digest)).endsWith(digest.replace(":", "-")), true);
      const options = { expectedDigest: weightsDigest };
      const loaded = await store.read(weightsDigest, (folder) => loadAdapter(folder, modules, options));
      assert.equal(loaded.digest, weightsDigest);
    }
    for await (const { name, error } of store.verify()) assert.equal(error, null, name);
  }
  assert.match(await contentOf(summaries[0] as AdapterStore, "org/second"), /# First/, "as it was stored");
});

test("in such a store the same files are identical, others are a new version, and names can be removed", async () => {
  await cp(fixture, directory, { recursive: true });
  const store = await openReal("bookworm-7m as it was");
  const uploads = new Uploads();
  const upload = async (name: string, tar: Buffer) =>
    uploads.receive({ body: Readable.from([tar]) }, store, (staged) => store.put(name, staged));
  const known = store.resolve("first");
  assert.ok(known);
  const sent = await buffer(packTar(await store.folder(known.digest)));
  const same = await upload("first", sent);
  assert.deepEqual([same.outcome, same.record.digest], ["identical", known.digest]);
  const staged = await store.stageCopy(await store.folder(known.digest));
  await writeFile(join(staged, "README.md"), "# Second\n");
  const second = await store.put("org/second", staged);
  assert.equal(second.outcome, "replaced");
  assert.equal(second.record.weightsDigest, known.weightsDigest);
  assert.notEqual(second.record.digest, known.digest);
  assert.match(await contentOf(store, "org/second"), /# Second/);
  assert.match(await contentOf(store, "first"), /# First/);
  await store.remove("first");
  await store.remove("third");
  assert.equal((await store.usage()).versions, 1);
  const load = (folder: string) => loadAdapter(folder, modules, { expectedDigest: known.weightsDigest });
  assert.ok(await store.read(known.weightsDigest, load));
});

test("in such a store a damaged version is repaired by the same weights under another name", async () => {
  await cp(fixture, directory, { recursive: true });
  const store = await openReal("bookworm-7m as it was");
  const known = store.resolve("first");
  assert.ok(known);
  const folder = await store.folder(known.digest);
  const sound = await store.stageCopy(folder);
  const bytes = await readFile(join(folder, weights));
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 16;
  await writeFile(join(folder, weights), bytes);
  const load = () =>
    store.read(known.weightsDigest, (from) => loadAdapter(from, modules, { expectedDigest: known.weightsDigest }));
  await rejects(load(), "adapter_damaged");
  await store.put("fourth", sound);
  assert.ok(await load());
  assert.deepEqual((await readdir(join(directory, ".store", "tmp"))).length, 0);
});
