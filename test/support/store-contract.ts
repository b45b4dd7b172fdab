/**
 * What every adapter store promises, whatever it keeps its adapters in. An implementation's test calls `testStore` with a factory of
 * empty places; what only that implementation has, such as the layout of its files, it tests itself.
 */

import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import type { AdapterStore, PutOptions, StoreOptions } from "../../src/adapter/store/store.js";
import { deferred } from "../../src/base/async.js";
import { LorikeetError } from "../../src/base/errors.js";
import { only } from "../../src/base/list.js";
import { fakeCheck, stageText } from "./fake-check.js";
import { rejects } from "./rejects.js";

export type Store = Pick<
  AdapterStore,
  | ("list" | "resolve" | "refused" | "hold" | "isNamed" | "read" | "folder")
  | ("stage" | "put" | "remove" | "scan" | "verify" | "usage" | "close")
>;

const checkedAs = (checkKey: string): StoreOptions["bases"] => [{ name: null, checkKey }];

export type ContractOptions = Pick<StoreOptions, "check" | "bases"> &
  Partial<Pick<StoreOptions, "reserved" | "admit" | "limits" | "observer">>;

/** Where adapters are kept. Stores that are opened over the same place share them, also from other processes. */
export interface StorePlace {
  open(options: ContractOptions): Promise<Store>;
  /** What should not be there while so many stores are open and none of them writes: scratch, traces of dead processes. */
  leftovers(openStores: number): Promise<readonly string[]>;
  /** Runs a job in a child process, with `fakeCheck`; null for stores that live in one process. */
  readonly elsewhere: ((job: StoreJob) => Promise<JobEnd>) | null;
}

export type StoreJob =
  /** Replaces a, adds b, removes c, and dies at the change of this number. 0: lives on, and tells how many changes there were. */
  | { readonly kind: "crash"; readonly killAt: number }
  /** Rounds, each with a put under the job's own name and one under `shared`; every third also removes its own name. */
  | { readonly kind: "puts"; readonly mark: string; readonly rounds: number };

export interface JobEnd {
  readonly signal: string | null;
  /** What the job said at its end. */
  readonly done: unknown;
}

/** Declares the contract's tests for one kind of store. */
export function testStore(kind: string, newPlace: () => Promise<StorePlace>): void {
  describe(kind, () => {
    let place: StorePlace;
    let opened: Store[] = [];

    beforeEach(async () => {
      place = await newPlace();
    });
    afterEach(async () => {
      for (const store of opened) await store.close();
      opened = [];
    });

    async function openAt(at: StorePlace, options: Partial<ContractOptions> = {}): Promise<Store> {
      const store = await at.open({ check: fakeCheck, bases: checkedAs("base"), ...options });
      opened.push(store);
      return store;
    }
    const open = (options: Partial<ContractOptions> = {}): Promise<Store> => openAt(place, options);

    describe("put", () => {
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
            ...{
              name: "org/plays",
              base: null,
              source: "store",
              digest: "",
              weightsDigest: "",
              createdAt: 0,
              dora: false,
            },
            ...{ rank: 8, modules: 4, bytes: 4, activeBytes: 8, scales: { min: 2, max: 2 } },
            ...{ warnings: [], ignored: ["x.pt"] },
          },
        );
        assert.deepEqual(store.resolve("org/plays"), record);
        const files = await readdir(await store.folder(record.digest));
        const sent = ["README.md", "adapter_config.json", "adapter_model.safetensors"];
        assert.deepEqual([sent.every((file) => files.includes(file)), files.includes("x.pt")], [true, false]);
        assert.deepEqual(await place.leftovers(1), []);
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
        assert.deepEqual([await versions(store), await place.leftovers(1)], [1, []]);
      });

      test("what does not pass the check, or can never be served, is not stored", async () => {
        const admit = (summary: { readonly bytes: number }): void => {
          if (summary.bytes > 100) throw new LorikeetError("adapter_too_large", "Too large.");
        };
        const store = await open({ admit });
        await rejects(put(store, "a", '"bad"'), "adapter_invalid", /bad/);
        await rejects(put(store, "a", "x".repeat(200)), "adapter_too_large");
        assert.deepEqual([names(store), await versions(store), await place.leftovers(1)], [[], 0, []]);
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
    });

    describe("hold and read", () => {
      test("a version outlives its name until its last hold is gone", async () => {
        const deleted: string[] = [];
        const store = await open({ observer: { deleted: (digest) => deleted.push(digest) } });
        const { record } = await put(store, "a", "v1");
        const { digest } = record;
        const holds = [store.hold(record), store.hold(record)];
        await put(store, "a", "v2");
        await store.remove("a");
        assert.equal(store.resolve("a"), null, "new requests do not find it");
        assert.equal(await textIn(await store.folder(digest)), "v1");
        holds[0]?.();
        holds[0]?.(); // a second call must not count
        await store.scan();
        assert.equal(await textIn(await store.folder(digest)), "v1");
        holds[1]?.();
        await store.close();
        assert.equal(deleted.includes(digest), true);
        await rejects(store.folder(digest), "adapter_not_found");
      });

      test("a held version that gets a name again stays", async () => {
        const store = await open();
        const { record } = await put(store, "a", "v1");
        const release = store.hold(record);
        await store.remove("a");
        await put(store, "b", "v1");
        release();
        await store.close();
        assert.equal((await open()).resolve("b")?.digest, record.digest);
      });

      test("what is computed is read by its digest; a fault that says nothing about the bytes is passed on", async () => {
        const store = await open();
        const { record } = await put(store, "a", "v1");
        assert.equal(await store.read(record.weightsDigest, textIn), "v1");
        const shortage = new LorikeetError("no_file_handles", "None is free.");
        await rejects(
          store.read(record.weightsDigest, () => Promise.reject(shortage)),
          "no_file_handles",
        );
        await rejects(store.read(`sha256:${"0".repeat(64)}`, textIn), "adapter_not_found");
      });
    });

    describe("notify", () => {
      test("names are told as they come, move and go", async () => {
        const events: string[] = [];
        const here = await open({
          observer: {
            named: ({ name, digest }) => events.push(`+${name} ${digest}`),
            unnamed: ({ name, digest }) => events.push(`-${name} ${digest}`),
          },
        });
        const first = (await put(here, "a", "v1")).record.digest;
        const second = (await put(here, "a", "v2")).record.digest;
        await put(here, "a", "v2");
        const there = await open();
        await there.remove("a");
        await here.scan();
        assert.deepEqual(events, [`+a ${first}`, `-a ${first}`, `+a ${second}`, `-a ${second}`]);
      });

      test("what versions compute is unwanted once none of them is named or held", async () => {
        const unwanted: string[] = [];
        const store = await open({ observer: { unwanted: (digest) => unwanted.push(digest) } });
        const putWith = async (name: string, more: Record<string, string>) =>
          store.put(name, await stageText(store, "v1", more));
        const first = await putWith("one", { "README.md": "version one" });
        const second = await putWith("one", { "README.md": "version TWO", "lorikeet.json": "{}" });
        const other = await putWith("other", {});
        assert.deepEqual([first.outcome, second.outcome, other.outcome], ["created", "replaced", "created"]);
        assert.equal(new Set([first, second, other].map(({ record }) => record.digest)).size, 3);
        const weightsDigest = only([...new Set([first, second, other].map(({ record }) => record.weightsDigest))]);
        const folder = await store.folder(second.record.digest);
        assert.equal(await readFile(join(folder, "README.md"), "utf8"), "version TWO");
        assert.equal((await putWith("other", {})).outcome, "identical");
        assert.deepEqual(unwanted, [], "what they compute is still named");
        const release = store.hold(other.record);
        await store.remove("one");
        await store.remove("other");
        assert.deepEqual([store.isNamed(weightsDigest), unwanted], [false, []]);
        release();
        assert.deepEqual(unwanted, [weightsDigest]);
      });
    });

    describe("restart", () => {
      test("for another base every adapter is checked again, and one that does not fit is refused but can be removed", async () => {
        const store = await open();
        await put(store, "a", "fits");
        await put(store, "b", "does not");
        await store.close();
        const check: ContractOptions["check"] = async (folder) => {
          if ((await textIn(folder)) !== "fits") {
            throw new LorikeetError("adapter_invalid", "It does not fit this base.");
          }
          const { summary } = await fakeCheck(folder);
          return { summary: { ...summary, modules: 7 } };
        };
        const other = await open({ check, bases: checkedAs("another") });
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
          const again = await open({
            check: () => Promise.reject(new Error("needs no check")),
            bases: checkedAs(checkKey),
          });
          assert.equal(again.resolve("a")?.modules, checkKey === "base" ? 4 : 7);
        }
      });

      test("close waits for what is under way, to its whole, and nothing is written after it", async () => {
        const [checking, gate] = [deferred<void>(), deferred<void>()];
        const check: ContractOptions["check"] = async (folder) => {
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
        assert.deepEqual(await place.leftovers(0), []);
        assert.equal((await putting).outcome, "created");
        await rejects(put(store, "later", "later"), "draining");
        await rejects(store.remove("late"), "draining");
        assert.deepEqual(await place.leftovers(0), [], "a store that is closed is not entered again");
        assert.deepEqual(names(await open()), ["late"]);
      });
    });

    describe("several stores over one place", () => {
      test("what another writes is seen at the next look, and its versions stay while they are held here", async () => {
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

      test("a version without a name goes once every open store knows that the name is gone, not sooner", async () => {
        const here = await open();
        const there = await open();
        await put(here, "a", "v1");
        await there.scan();
        await put(here, "a", "v2");
        await here.scan();
        assert.equal(await versions(here), 2, "there may be a request for it");
        await there.scan();
        await here.scan();
        assert.equal(await versions(here), 1);
      });

      test("a put sees what another wrote just before, without a look between", async () => {
        const here = await open();
        const there = await open();
        await put(there, "a", "v1");
        await rejects(put(here, "a", "v2", { ifNoneMatch: "*" }), "precondition_failed");
        assert.equal((await put(here, "a", "v1")).outcome, "identical");
        await there.remove("a");
        await rejects(here.remove("a"), "adapter_not_found");
      });

      test("two processes write at once: every put and removal of both takes effect, and a third sees them", async (context) => {
        const { elsewhere } = place;
        if (!elsewhere) return context.skip("stores live in one process");
        const store = await open();
        const rounds = 7;
        await Promise.all(["x", "y"].map((mark) => elsewhere({ kind: "puts", mark, rounds })));
        await put(store, "mine", "mine");
        await store.scan();
        const left = [1, 2, 4, 5].flatMap((round) => [`x-${round}`, `y-${round}`]);
        assert.deepEqual(names(store), [...left, "mine", "shared"].sort());
        assert.match((await textOf(store, "shared")) ?? "", /^shared [xy] 6$/);
        await store.close();
        await assertWhole(await open(), place);
      });
    });

    describe("crash", () => {
      test("a writer killed at any change leaves each name old or new, whole, in order, and no leftovers", async (context) => {
        if (!place.elsewhere) return context.skip("stores live in one process");
        const crash = async (killAt: number): Promise<JobEnd> => {
          const at = await newPlace();
          assert.ok(at.elsewhere);
          const prepared = await openAt(at);
          await put(prepared, "a", "old a");
          await put(prepared, "c", "old c");
          await prepared.close();
          const end = await at.elsewhere({ kind: "crash", killAt });
          const store = await openAt(at);
          const texts = [await textOf(store, "a"), await textOf(store, "b"), await textOf(store, "c")];
          const found = texts.map(String).join("|");
          const allowed = ["old a|null|old c", "new a|null|old c", "new a|new b|old c", "new a|new b|null"];
          assert.ok(allowed.includes(found), `${found} after a death at ${killAt}`);
          if (end.signal === null) assert.equal(found, "new a|new b|null");
          await assertWhole(store, at);
          await put(store, "a", "newest a");
          assert.equal(await textOf(store, "a"), "newest a", "the next writer is not held up");
          await store.close();
          return end;
        };

        const undisturbed = await crash(0);
        const changes = Number(undisturbed.done);
        assert.ok(changes > 50, `${changes} changes`);
        const kills = 15;
        const moments = Array.from({ length: kills }, (_, i) => 1 + Math.floor(((i + 0.5) * changes) / kills));
        for (let i = 0; i < kills; i += 3) {
          const ends = await Promise.all(moments.slice(i, i + 3).map(crash));
          for (const { signal } of ends) assert.equal(signal, "SIGKILL");
        }
      });
    });
  });
}

async function put(store: Store, name: string, text: string, options: PutOptions = {}) {
  return store.put(name, await stageText(store, text), options);
}

const names = (store: Store): string[] => store.list().map((record) => record.name);
const versions = async (store: Store): Promise<number> => (await store.usage()).versions;
const textIn = (folder: string): Promise<string> => readFile(join(folder, "adapter_model.safetensors"), "utf8");

/** The content of the version that a name points at. */
async function textOf(store: Store, name: string): Promise<string | null> {
  const record = store.resolve(name);
  return record && textIn(await store.folder(record.digest));
}

/** With one store open: all that is named is sound, and nothing else is there. */
export async function assertWhole(store: Store, place: Pick<StorePlace, "leftovers">): Promise<void> {
  for await (const { name, error } of store.verify()) assert.equal(error, null, `${name} is whole`);
  const digests = new Set(store.list().map((record) => record.digest));
  assert.equal((await store.usage()).versions, digests.size, "no version without a name is left");
  assert.deepEqual(await place.leftovers(1), []);
}
