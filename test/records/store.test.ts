/** Both stores of records: what they keep, for whom, within which bounds; and what the one on disk keeps across a crash. */
import assert from "node:assert/strict";
import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { LorikeetError } from "../../src/base/errors.js";
import { asRecordFault, openLevelStore } from "../../src/records/level-store.js";
import { memoryStore } from "../../src/records/memory-store.js";
import type { RecordBounds, RecordStore } from "../../src/records/store.js";

const key = (id: string, owner = "a") => ({ owner, id });
const code = (expected: string) => (error: LorikeetError) => error.code === expected;

let root = "";
before(async () => {
  root = await mkdtemp(join(tmpdir(), "records-"));
});
after(() => rm(root, { recursive: true, force: true }));

type Open = (bounds?: Partial<RecordBounds>, now?: () => number) => Promise<RecordStore>;
let folders = 0;
const kinds: Readonly<Record<string, Open>> = {
  "in memory": async (bounds, now) => memoryStore(bounds, now),
  "on disk": (bounds, now) => openLevelStore(join(root, `store-${folders++}`), bounds, now),
};

for (const [kind, open] of Object.entries(kinds)) {
  describe(`a store ${kind}`, () => {
    test("keeps, replaces and removes records for their owner only", async () => {
      await using store = await open();
      await store.put(key("1"), "one");
      await store.put(key("1", "b"), "wörld");
      assert.equal(await store.get(key("1")), "one");
      assert.equal(await store.get(key("1", "c")), null);
      assert.equal(await store.remove(key("1", "c")), false);
      await store.put(key("1"), "two!");
      assert.equal(await store.get(key("1")), "two!");
      assert.deepEqual(store.stats(), { records: 2, bytes: 4 + 6, dropped: 0 });
      assert.equal(await store.remove(key("1")), true);
      assert.equal(await store.remove(key("1")), false);
      assert.equal(await store.get(key("1")), null);
      assert.equal(await store.get(key("1", "b")), "wörld");
    });

    test("drops the oldest records past its number, of whoever has the most", async () => {
      await using store = await open({ maxRecords: 3 });
      await store.put(key("0", "b"), "x");
      for (const id of ["1", "2", "3", "4"]) await store.put(key(id), "x");
      const left = await Promise.all(["1", "2", "3", "4"].map((id) => store.get(key(id))));
      assert.deepEqual(left, [null, null, "x", "x"]);
      assert.equal(await store.get(key("0", "b")), "x");
      assert.deepEqual(store.stats(), { records: 3, bytes: 3, dropped: 2 });
    });

    test("drops the oldest records past its bytes, and refuses what never fits", async () => {
      await using store = await open({ maxBytes: 10 });
      await store.put(key("1"), "12345");
      await store.put(key("2"), "12345");
      await store.put(key("3"), "1");
      assert.deepEqual([await store.get(key("1")), await store.get(key("2"))], [null, "12345"]);
      await assert.rejects(store.put(key("4"), "x".repeat(11)), code("store_full"));
      assert.equal(store.stats().bytes, 6);
    });

    test("drops records past their age, which a replacement keeps", async () => {
      let now = 1000;
      await using store = await open({ maxAgeMs: 100 }, () => now);
      await store.put(key("1"), "one");
      now += 60;
      await store.put(key("1"), "more");
      await store.put(key("2"), "two");
      now += 60;
      assert.deepEqual([await store.get(key("1")), await store.get(key("2"))], [null, "two"]);
      await store.put(key("3"), "three");
      assert.equal(store.stats().records, 2);
    });
  });
}

describe("a store on disk", () => {
  test("keeps records, their age and their bounds when it is opened again", async () => {
    const folder = join(root, "reopened");
    let now = 1000;
    {
      await using store = await openLevelStore(folder, {}, () => now);
      await store.put(key("1"), "one");
      now += 50;
      await store.put(key("2"), "two");
    }
    now += 60;
    await using store = await openLevelStore(folder, { maxAgeMs: 100 }, () => now);
    assert.equal(await store.get(key("1")), null);
    assert.equal(await store.get(key("2")), "two");
    assert.deepEqual(store.stats(), { records: 1, bytes: 3, dropped: 1 });
  });

  test("has every record that was stored before the process was killed", async () => {
    const folder = join(root, "killed");
    const child = fork(new URL("../support/record-writer.js", import.meta.url), [folder]);
    await once(child, "message");
    child.kill("SIGKILL");
    await once(child, "exit");
    await using store = await openLevelStore(folder);
    assert.equal(await store.get(key("19")), "x".repeat(1000));
    assert.equal(store.stats().records, 20);
  });

  test("creates the folders of its path, and says where none can be created", async () => {
    await using _store = await openLevelStore(join(root, "not", "there", "yet"));
    if (process.platform !== "linux") return;
    await assert.rejects(openLevelStore("/proc/none/a/b"), code("invalid_value"));
  });

  test("is opened by one process at a time", async () => {
    const folder = join(root, "shared");
    await using _first = await openLevelStore(folder);
    await assert.rejects(openLevelStore(folder), code("conflict"));
  });

  test("whose files are damaged is refused in one sentence without a path", async () => {
    const folder = join(root, "damaged");
    {
      await using store = await openLevelStore(folder);
      await store.put(key("1"), "x".repeat(100_000));
    }
    for (const name of await readdir(folder)) {
      if (/^(MANIFEST|CURRENT)/.test(name)) await writeFile(join(folder, name), "not what LevelDB wrote");
    }
    await assert.rejects(openLevelStore(folder), (fault: LorikeetError) => {
      assert.ok(!fault.message.includes(root) && fault.operator?.includes(folder));
      return fault.code === "records_damaged";
    });
  });

  test("says when the disk is full", () => {
    const cause = new Error("IO error: /x/000003.log: No space left on device");
    assert.equal(asRecordFault(new Error("Write failed", { cause }), "/x").code, "store_full");
  });
});
