/** The tiers together, with real adapters and the real check: a tar is uploaded, stored, loaded, and replaced while it is leased. */

import assert from "node:assert/strict";
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { after, test } from "node:test";
import { AdapterCache } from "../../../src/adapter/cache/cache.js";
import { AdapterStore } from "../../../src/adapter/store/store.js";
import { packTar, Uploads } from "../../../src/adapter/upload/upload.js";
import { AdapterWorker } from "../../../src/adapter/worker/worker.js";
import { LorikeetError } from "../../../src/base/errors.js";
import { openCheckpoint } from "../../../src/model/checkpoint/open.js";
import { targetModules } from "../../../src/model/modules.js";
import { tryLockFile } from "../../../src/runtime/file-lock.js";

const directory = await mkdtemp(join(tmpdir(), "lorikeet-tiers-"));
after(() => rm(directory, { recursive: true }));

test("a real adapter goes from a tar through the store into memory, and a request keeps its version", async () => {
  const { config, fingerprint } = await openCheckpoint("models/bookworm-7m");
  const modules = targetModules(config);
  const worker = new AdapterWorker();
  const check = (folder: string) => worker.check(folder, modules, { baseNames: ["bookworm-7m"] });
  await cp("adapters/sentiment", join(directory, "sentiment"), { recursive: true });
  const store = await AdapterStore.open({
    directory,
    check,
    bases: [{ name: null, checkKey: fingerprint }],
    tryLock: tryLockFile,
  });
  const sizes = {
    bytesOf: (digest: string) => store.list().find((each) => each.weightsDigest === digest)?.bytes,
    largestBytes: () => 0,
  };
  const load = (digest: string) =>
    store.read(digest, (folder) => worker.load(folder, modules, { expectedDigest: digest }));
  const cache = new AdapterCache({ maxBytes: 2 ** 28, load, sizes });
  const uploads = new Uploads();
  const upload = async (name: string, folder: string) =>
    uploads.receive({ body: Readable.from(packTar(folder)) }, store, (staged) => store.put(name, staged));
  try {
    const { record, outcome } = await upload("plays", "adapters/plays");
    assert.equal(outcome, "created");
    assert.equal((await upload("plays", "adapters/plays")).outcome, "identical");
    assert.equal(record.modules, modules.length);
    assert.deepEqual(
      store.list().map(({ name, source }) => [name, source]),
      [
        ["plays", "store"],
        ["sentiment", "folder"],
      ],
    );

    const release = store.hold(record);
    const lease = await cache.acquire(record.weightsDigest);
    assert.equal(lease.adapter.digest, record.weightsDigest);
    assert.ok(lease.adapter.bytes <= 1.1 * record.bytes, "the file's bytes and at most a tenth");
    const replaced = await upload("plays", "adapters/sentiment");
    assert.equal(replaced.outcome, "replaced");
    assert.equal(store.resolve("plays")?.digest, store.resolve("sentiment")?.digest, "one content, one digest");
    assert.ok(await store.folder(record.digest), "the version of the running request is still there");
    lease.release();
    release();
    cache.check();

    const bytes = await readFile("adapters/plays/adapter_model.safetensors");
    const broken = await mkdtemp(join(tmpdir(), "lorikeet-broken-"));
    await cp("adapters/plays", broken, { recursive: true });
    await writeFile(join(broken, "adapter_model.safetensors"), bytes.subarray(0, bytes.length - 4));
    await assert.rejects(
      upload("broken", broken),
      (error) => error instanceof LorikeetError && error.code === "adapter_invalid",
    );
    await rm(broken, { recursive: true });
    assert.deepEqual(await readdir(join(directory, ".store", "tmp")), []);

    const tar = await buffer(packTar(await store.folder(replaced.record.digest)));
    const back = await uploads.receive({ body: Readable.from([tar]) }, store, (staged) => check(staged));
    assert.equal(back.summary.digest, replaced.record.digest, "what is downloaded is what was stored");
    for await (const { name, error } of store.verify()) assert.equal(error, null, name);
  } finally {
    await store.close();
    await worker.close();
  }
});
