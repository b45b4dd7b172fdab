/** The host cache's promises: bounded bytes, single flight, leases and pins that hold, an ordered queue, and accounting that adds up. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";
import { AdapterCache, type CacheObserver } from "../../src/adapter/cache/cache.js";
import type { AdapterLease, HostAdapter } from "../../src/adapter/types.js";
import { type Deferred, deferred } from "../../src/base/async.js";
import { LorikeetError } from "../../src/base/errors.js";

/** A disk of adapters whose loads end when the test says so. */
class FakeDisk {
  readonly sizes = new Map<string, number>();
  readonly pending: { digest: string; done: Deferred<HostAdapter> }[] = [];
  readonly loads: string[] = [];
  running = 0;
  mostRunning = 0;
  /** What loading brings in bytes, where that differs from what was said. */
  readonly actual = new Map<string, number>();

  load = async (digest: string): Promise<HostAdapter> => {
    this.loads.push(digest);
    this.mostRunning = Math.max(this.mostRunning, ++this.running);
    const done = deferred<HostAdapter>();
    this.pending.push({ digest, done });
    try {
      return await done.promise;
    } finally {
      this.running--;
    }
  };

  bytesOf = (digest: string): number | undefined => this.sizes.get(digest);
  largestBytes = (except: ReadonlySet<string>): number =>
    Math.max(0, ...[...this.sizes].filter(([digest]) => !except.has(digest)).map(([, bytes]) => bytes));

  /** Ends the oldest load and lets everything that follows from it happen. */
  async finish(fault?: Error): Promise<void> {
    const next = this.pending.shift();
    if (!next) return;
    const bytes = this.actual.get(next.digest) ?? this.sizes.get(next.digest) ?? 0;
    if (fault) next.done.reject(fault);
    else next.done.resolve({ digest: next.digest, rank: 1, bytes, hasGains: false, modules: new Map() });
    await turn();
  }

  async finishAll(): Promise<void> {
    while (this.pending.length > 0) await this.finish();
    await turn();
  }
}

function setUp(maxBytes: number, sizes: Record<string, number>, observer: CacheObserver = {}) {
  const disk = new FakeDisk();
  for (const [digest, bytes] of Object.entries(sizes)) disk.sizes.set(digest, bytes);
  let time = 0;
  const advance = (ms: number): void => {
    time += ms;
  };
  const cache = new AdapterCache({ maxBytes, load: disk.load, sizes: disk, observer, now: () => time });
  return { disk, cache, advance };
}

async function leased(disk: FakeDisk, cache: AdapterCache, digest: string): Promise<AdapterLease> {
  const lease = cache.acquire(digest);
  await disk.finishAll();
  return lease;
}

async function settled(promise: Promise<unknown>): Promise<boolean> {
  const mark = Symbol();
  await turn();
  return (await Promise.race([promise.catch(() => null), Promise.resolve(mark)])) !== mark;
}

const withCode = (code: string) => (error: unknown) => error instanceof LorikeetError && error.code === code;

test("concurrent requests for one adapter share one load and hold it until the last release", async () => {
  const { disk, cache } = setUp(100, { a: 60, b: 60 });
  const asked = [cache.acquire("a"), cache.acquire("a"), cache.acquire("a")];
  await disk.finishAll();
  const leases = await Promise.all(asked);
  assert.deepEqual(disk.loads, ["a"]);
  assert.ok(leases.every((lease) => lease.from === "disk" && lease.adapter === leases[0]?.adapter));
  const other = cache.acquire("b");
  leases[0]?.release();
  leases[0]?.release(); // a second call must not count
  leases[1]?.release();
  assert.equal(await settled(other), false, "b waits while a is leased once");
  cache.check();
  leases[2]?.release();
  await disk.finishAll();
  (await other).release();
  assert.deepEqual(disk.loads, ["a", "b"]);
  assert.equal(cache.stats().evictions, 1);
  cache.check();
});

test("an adapter in memory is a hit and is found without a load", async () => {
  const { disk, cache } = setUp(100, { a: 10 });
  (await leased(disk, cache, "a")).release();
  const lease = await cache.acquire("a");
  assert.equal(lease.from, "host");
  lease.release();
  const { hits, misses, bytes, entries, leased: held } = cache.stats();
  assert.deepEqual({ hits, misses, bytes, entries, held }, { hits: 1, misses: 1, bytes: 10, entries: 1, held: 0 });
});

test("the longest unused adapter goes first", async () => {
  const gone: string[] = [];
  const { disk, cache } = setUp(30, { a: 10, b: 10, c: 10, d: 10 }, { evicted: (digest) => gone.push(digest) });
  for (const digest of ["a", "b", "c", "a"]) (await leased(disk, cache, digest)).release();
  (await leased(disk, cache, "d")).release();
  assert.deepEqual(gone, ["b"]);
});

test("at most two adapters are read from disk at once", async () => {
  const { disk, cache } = setUp(100, { a: 10, b: 10, c: 10, d: 10 });
  const asked = ["a", "b", "c", "d"].map((digest) => cache.acquire(digest));
  await turn();
  assert.equal(disk.running, 2);
  await disk.finishAll();
  for (const lease of await Promise.all(asked)) lease.release();
  assert.equal(disk.mostRunning, 2);
});

test("requests without room are served in order, and a small one does not overtake a large one", async () => {
  const { disk, cache } = setUp(100, { a: 50, b: 50, large: 90, small: 10 });
  const a = await leased(disk, cache, "a");
  const b = await leased(disk, cache, "b");
  const large = cache.acquire("large");
  const small = cache.acquire("small");
  a.release();
  await disk.finishAll();
  assert.equal(await settled(large), false);
  assert.equal(await settled(small), false, "small fits, but large was first");
  assert.equal(cache.stats().waiting, 2);
  cache.check();
  const again = await leased(disk, cache, "b");
  assert.equal(again.from, "host", "what is in memory does not stand in line");
  again.release();
  b.release();
  await disk.finishAll();
  (await large).release();
  (await small).release();
  cache.check();
});

test("an adapter larger than the cache, or than what pins leave, is refused with both sizes", async () => {
  const { disk, cache } = setUp(100, { a: 101, b: 60, c: 30 });
  await assert.rejects(cache.acquire("a"), (error) => {
    assert.ok(withCode("adapter_too_large")(error));
    assert.match(String(error), /101 bytes.*holds 100/);
    return true;
  });
  disk.sizes.delete("a");
  const pinned = cache.pin("c");
  await disk.finishAll();
  await pinned;
  cache.assertFits("new", 70);
  cache.assertFits("c", 30); // the pinned one itself, under another name
  assert.throws(() => cache.assertFits("new", 71), /71 bytes.*holds 100, of which pinned adapters leave 70/);
  disk.sizes.set("late", 80); // stored after the pin
  await assert.rejects(cache.acquire("late"), withCode("adapter_too_large"));
  await assert.rejects(cache.acquire("unknown"), withCode("adapter_not_found"));
  cache.check();
});

test("a failed load rejects every waiting request, frees its room, and the next request reloads", async () => {
  const { disk, cache } = setUp(100, { a: 80 });
  const asked = [cache.acquire("a"), cache.acquire("a")];
  const refused = asked.map((each) => assert.rejects(each, withCode("digest_mismatch")));
  await turn();
  await disk.finish(new LorikeetError("digest_mismatch", "The files have changed."));
  await Promise.all(refused);
  assert.equal(cache.stats().bytes, 0);
  cache.check();
  (await leased(disk, cache, "a")).release();
});

test("a load that brings another adapter than was asked for is refused", async () => {
  const { cache } = setUp(100, {});
  const wrong = new AdapterCache({
    maxBytes: 100,
    load: async () => ({ digest: "b", rank: 1, bytes: 1, hasGains: false, modules: new Map() }),
    sizes: { bytesOf: () => 1, largestBytes: () => 1 },
  });
  await assert.rejects(wrong.acquire("a"), withCode("digest_mismatch"));
  wrong.check();
  cache.check();
});

test("pinned adapters stay; a pin that would leave less than the largest other adapter needs is a conflict", async () => {
  const { disk, cache } = setUp(100, { a: 40, b: 30, c: 60 });
  const pinned = cache.pin("a");
  await disk.finishAll();
  await pinned;
  await assert.rejects(cache.pin("b"), withCode("conflict"));
  (await leased(disk, cache, "c")).release();
  (await leased(disk, cache, "b")).release();
  assert.deepEqual(cache.state("a"), { resident: true, pinned: true, leases: 0 });
  assert.equal(cache.state("c").resident, false);
  cache.unpin("a");
  const b = await leased(disk, cache, "b");
  (await leased(disk, cache, "c")).release();
  assert.equal(cache.state("a").resident, false, "unpinned, it can be evicted");
  b.release();
  cache.check();
});

test("two pins at once cannot both take the last room; a pin whose load fails is given back", async () => {
  const { disk, cache } = setUp(100, { a: 40, b: 40, c: 30 });
  const first = assert.rejects(cache.pin("a"), /unreadable/);
  await assert.rejects(cache.pin("b"), withCode("conflict"));
  await disk.finish(new Error("unreadable"));
  await first;
  assert.equal(cache.stats().pinned, 0);
  const second = cache.pin("b");
  await disk.finishAll();
  await second;
  cache.check();
});

test("a prefetched adapter is there when it is asked for; prefetching takes no room from those wanted sooner", async () => {
  const { disk, cache, advance } = setUp(30, { a: 10, b: 10, c: 10, d: 10 });
  for (const digest of ["a", "b", "c", "d"]) cache.prefetch(digest);
  await disk.finishAll();
  assert.deepEqual(disk.loads, ["a", "b", "c"], "d would have pushed out an adapter that is wanted first");
  const lease = await cache.acquire("a");
  assert.equal(lease.from, "host");
  lease.release();
  cache.prefetch("d");
  await disk.finishAll();
  assert.equal(cache.state("a").resident, false, "a has been used and may go");
  assert.equal(cache.state("d").resident, true);
  cache.prefetch("unknown");
  advance(31_000);
  cache.prefetch("a");
  await disk.finishAll();
  assert.equal(cache.state("a").resident, true, "what was wanted long ago is spared no more");
  cache.check();
});

test("a prefetch that fails says nothing, and the request that follows loads again", async () => {
  const { disk, cache } = setUp(30, { a: 10 });
  cache.prefetch("a");
  await turn();
  await disk.finish(new Error("gone"));
  (await leased(disk, cache, "a")).release();
  assert.deepEqual(disk.loads, ["a", "a"]);
});

test("a prefetch under way is joined, and gives way once it has landed", async () => {
  const { disk, cache } = setUp(10, { a: 10, b: 10 });
  cache.prefetch("a");
  const b = cache.acquire("b"); // no room until a has landed, for a load cannot be stopped
  assert.equal(await settled(b), false);
  cache.check();
  await disk.finishAll();
  (await b).release();
  assert.equal(cache.state("a").resident, false);
});

test("a forgotten adapter goes at once, with its last lease, or when its load lands", async () => {
  const { disk, cache } = setUp(100, { a: 10, b: 10, c: 10 });
  (await leased(disk, cache, "a")).release();
  cache.forget("a");
  assert.equal(cache.stats().entries, 0);
  const b = await leased(disk, cache, "b");
  cache.forget("b");
  assert.equal(b.adapter.digest, "b");
  assert.equal(cache.stats().entries, 1);
  b.release();
  assert.equal(cache.stats().bytes, 0);
  cache.prefetch("c");
  cache.forget("c");
  await disk.finishAll();
  assert.equal(cache.stats().bytes, 0);
  cache.check();
});

test("an adapter larger than announced counts at its real size, and waits if that does not fit", async () => {
  const { disk, cache } = setUp(100, { a: 50, b: 40 });
  disk.actual.set("b", 60);
  const a = await leased(disk, cache, "a");
  const b = cache.acquire("b");
  await disk.finishAll();
  assert.equal(await settled(b), false);
  assert.equal(cache.stats().bytes, 50);
  cache.check();
  a.release();
  await disk.finishAll();
  (await b).release();
  assert.equal(cache.stats().bytes, 60);
  disk.actual.set("c", 101);
  disk.sizes.set("c", 10);
  const c = assert.rejects(cache.acquire("c"), withCode("adapter_too_large"));
  await disk.finishAll();
  await c;
  cache.check();
});

type Step = {
  readonly kind: "acquire" | "release" | "prefetch" | "pin" | "unpin" | "forget" | "finish" | "fail";
  readonly n: number;
};

test("in any sequence of calls the byte counts add up, no lease is lost, and every request is served", async () => {
  const sizes = { a: 10, b: 20, c: 30, d: 40, e: 55 };
  const digests = Object.keys(sizes);
  const kind = fc.constantFrom<Step["kind"]>(
    "acquire",
    "acquire",
    "release",
    "prefetch",
    "pin",
    "unpin",
    "forget",
    "finish",
    "finish",
    "fail",
  );
  const steps = fc.array(fc.record({ kind, n: fc.nat(100) }), { maxLength: 60 });
  const property = fc.asyncProperty(steps, async (sequence) => {
    const { disk, cache } = setUp(100, sizes);
    const leases: AdapterLease[] = [];
    const asked: Promise<void>[] = [];
    for (const { kind: what, n } of sequence) {
      const digest = digests[n % digests.length] ?? "a";
      if (what === "acquire")
        asked.push(
          cache.acquire(digest).then(
            (lease) => void leases.push(lease),
            () => {},
          ),
        );
      else if (what === "release") leases.splice(n % Math.max(1, leases.length), 1)[0]?.release();
      else if (what === "prefetch") cache.prefetch(digest);
      else if (what === "pin") asked.push(cache.pin(digest).catch(() => {}));
      else if (what === "unpin") cache.unpin(digest);
      else if (what === "forget") cache.forget(digest);
      else await disk.finish(what === "fail" ? new Error("unreadable") : undefined);
      cache.check();
      await turn();
      cache.check();
      for (const { adapter } of leases) assert.ok(cache.state(adapter.digest).resident, `${adapter.digest} is leased`);
    }
    for (let round = 0; cache.stats().waiting + cache.stats().loading + leases.length > 0; round++) {
      assert.ok(round < 500, "the line comes to its end");
      for (const lease of leases.splice(0)) lease.release();
      await disk.finish();
      await turn();
      cache.check();
    }
    await Promise.all(asked);
    for (const lease of leases) lease.release();
    assert.equal(cache.stats().leased, 0);
    cache.check();
  });
  await fc.assert(property, { numRuns: 150 });
});
