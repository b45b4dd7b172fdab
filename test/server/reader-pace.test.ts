/** How long a reader may lag: it may pause, but not trickle, and not while others wait for its slot. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { deferred } from "../../src/base/async.js";
import { LorikeetError } from "../../src/base/errors.js";
import { type ReaderBounds, ReaderPace, type Scarce } from "../../src/server/reader-pace.js";

const bounds: ReaderBounds = { slowReaderTimeoutMs: 30_000, minReadRate: 1024 };

/** A pace whose clock only `pass` moves. */
function openPace(t: TestContext, given: Partial<ReaderBounds> = {}) {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let now = 0;
  const limits: string[] = [];
  const pace = new ReaderPace({ ...bounds, onLimit: (option) => limits.push(option), ...given }, () => now);
  const reader = { taken: 0, caughtUp: deferred<void>(), drained: () => reader.caughtUp.promise };
  const pass = async (ms: number): Promise<void> => {
    for (const end = now + ms; now < end; ) {
      now += 100;
      t.mock.timers.tick(100);
      await turn();
    }
  };
  return {
    limits,
    pass,
    reader,
    /** The reader is behind for so long, and takes so many bytes until then. */
    async wait(ms: number, bytes: number, scarce?: Scarce): Promise<void> {
      reader.caughtUp = deferred<void>();
      const waiting = pace.catchUp(reader, scarce);
      waiting.catch(() => {});
      await pass(ms);
      reader.taken += bytes;
      reader.caughtUp.resolve();
      await waiting;
    },
  };
}

const tooSlow = (pattern: RegExp) => (error: unknown) =>
  error instanceof LorikeetError && error.code === "timeout" && pattern.test(error.message);

test("a reader that takes nothing times out after the window, and no sooner", async (t) => {
  const { wait, limits } = openPace(t);
  await wait(29_000, 100_000);
  await assert.rejects(wait(62_000, 1), tooSlow(/did not read for 30000 ms/));
  assert.deepEqual(limits, ["slow-reader-timeout"]);
});

test("a reader that takes a little just before each window ends times out too", async (t) => {
  const { wait, limits } = openPace(t);
  await wait(29_000, 8_000);
  await assert.rejects(
    wait(29_000, 8_000),
    tooSlow(/took 8000 bytes in 30\d\d\d ms, where at least 30720 are expected/),
  );
  assert.deepEqual(limits, ["min-read-rate"]);
});

test("without a minimum rate any byte is enough", async (t) => {
  const { wait, limits } = openPace(t, { minReadRate: 0 });
  for (let round = 0; round < 5; round++) await wait(29_000, 1);
  assert.deepEqual(limits, []);
});

test("a slow but steady reader never times out, even through one long wait", async (t) => {
  const { wait, reader, pass, limits } = openPace(t);
  for (let round = 0; round < 20; round++) await wait(10_000, 11_000);
  const long = wait(120_000, 0);
  for (let second = 0; second < 119; second++) {
    reader.taken += 1100;
    await pass(1000);
  }
  await long;
  assert.deepEqual(limits, []);
});

test("a reader that kept up for a window may pause once more", async (t) => {
  const { wait, pass, limits } = openPace(t);
  for (let round = 0; round < 5; round++) {
    await wait(20_000, 1000);
    await pass(30_000);
  }
  assert.deepEqual(limits, []);
});

test("a slow reader that holds a slot times out sooner while others wait for it", async (t) => {
  const { wait, limits } = openPace(t);
  let isWanted = false;
  const slot: Scarce = { slowReaderSlotTimeoutMs: 5_000, isWanted: () => isWanted };
  await wait(20_000, 100_000, slot);
  isWanted = true;
  await wait(4_000, 10_000, slot);
  await assert.rejects(
    wait(6_000, 10_000, slot),
    tooSlow(/was behind for 5\d\d\d ms while others waited for its slot/),
  );
  assert.deepEqual(limits, ["slow-reader-slot-timeout"]);
});
