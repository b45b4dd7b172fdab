/** The engine's small parts by themselves: the plan in integers, slots, the cache's rows, groups of rows. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { groupRows } from "../../src/engine/adapters/groups.js";
import { cacheBytes, KvCache } from "../../src/engine/kv-cache.js";
import { findMove, plan, type Task } from "../../src/engine/scheduler.js";
import { Slots } from "../../src/engine/slots.js";
import { kvBytesPerToken } from "../../src/model/serving/cache-shape.js";
import { hostData } from "../support/host-data.js";

const task = (slot: number, computed: number, promptTokens: number, more: Partial<Task> = {}): Task => ({
  slot,
  order: slot,
  computed,
  known: Math.max(computed + 1, promptTokens),
  promptTokens,
  paused: false,
  maxChunk: 512,
  ...more,
});
const options = { maxChunk: 16 };

test("plan: nothing to do is an empty plan", () => {
  assert.deepEqual(plan([], 100, options), { prefill: [], decode: [] });
  assert.deepEqual(plan([task(0, 4, 4, { paused: true }), task(1, 0, 9, { paused: true })], 100, options), {
    prefill: [],
    decode: [],
  });
});

test("plan: rows decode in the order of slots, paused ones not", () => {
  const tasks = [task(3, 9, 9), task(0, 5, 4), task(1, 8, 8, { paused: true })];
  assert.deepEqual(plan(tasks, 100, options), { prefill: [], decode: [0, 3] });
});

test("plan: the oldest prefills first and the budget is shared out while others decode", () => {
  const tasks = [task(0, 20, 5), task(1, 0, 5, { order: 9 }), task(2, 4, 12, { order: 3 })];
  assert.deepEqual(plan(tasks, 10, options), {
    prefill: [
      { slot: 2, start: 4, tokens: 8, last: true },
      { slot: 1, start: 0, tokens: 2, last: false },
    ],
    decode: [0],
  });
});

test("plan: a prompt alone takes the largest chunk, a scoring one its own bound; budget 0 still progresses", () => {
  assert.deepEqual(plan([task(0, 0, 40)], 2, options).prefill, [{ slot: 0, start: 0, tokens: 16, last: false }]);
  assert.deepEqual(plan([task(0, 0, 40, { maxChunk: 6 })], 2, options).prefill, [
    { slot: 0, start: 0, tokens: 6, last: false },
  ]);
  assert.deepEqual(plan([task(0, 0, 40), task(1, 3, 3)], 0, options).prefill, [
    { slot: 0, start: 0, tokens: 2, last: false },
  ]);
});

test("plan: whatever the tasks, chunks continue where they stopped, stay in the budget, and are even until the last", () => {
  const arbitrary = fc.array(
    fc.record({
      prompt: fc.integer({ min: 1, max: 60 }),
      done: fc.double({ min: 0, max: 1.2, noNaN: true }),
      paused: fc.boolean(),
    }),
    { maxLength: 12 },
  );
  fc.assert(
    fc.property(
      arbitrary,
      fc.integer({ min: 0, max: 80 }),
      fc.integer({ min: 2, max: 33 }),
      (list, budget, maxChunk) => {
        const tasks = list.map(({ prompt, done, paused }, slot) =>
          task(slot, Math.floor(prompt * done), prompt, { paused }),
        );
        const next = plan(tasks, budget, { maxChunk });
        const decoding = tasks.filter(({ computed, promptTokens, paused }) => computed >= promptTokens && !paused);
        assert.deepEqual(
          next.decode,
          decoding.map(({ slot }) => slot),
        );
        const total = next.prefill.reduce((sum, { tokens }) => sum + tokens, 0);
        assert.ok(total <= (decoding.length > 0 ? Math.max(2, budget) : maxChunk));
        for (const { slot, start, tokens, last } of next.prefill) {
          const own = tasks[slot] as Task;
          assert.equal(start, own.computed);
          assert.ok(tokens >= 1 && tokens <= maxChunk && start + tokens <= own.promptTokens);
          assert.equal(last, start + tokens === own.promptTokens);
          assert.ok(last || tokens % 2 === 0);
        }
        const waits = tasks.some(({ computed, promptTokens, paused }) => computed < promptTokens && !paused);
        assert.equal(next.prefill.length > 0, waits, "whoever is first moves on");
      },
    ),
  );
});

test("findMove: the highest row goes into the lowest hole below it, unless it is long", () => {
  assert.deepEqual(findMove([task(0, 5, 5), task(3, 9, 4)], 1, 100), { from: 3, to: 1, tokens: 9 });
  assert.equal(findMove([task(0, 5, 5), task(1, 9, 4)], 2, 100), null, "no hole below");
  assert.equal(findMove([task(0, 5, 5)], -1, 100), null, "no hole at all");
  assert.equal(findMove([], 0, 100), null);
  assert.equal(findMove([task(2, 101, 4)], 0, 100), null, "too long to move");
  assert.deepEqual(findMove([task(2, 3, 40)], 0, 100), { from: 2, to: 0, tokens: 3 }, "in the middle of its prompt");
});

test("slots: the lowest free first, moved, released once, and they add up", () => {
  const slots = new Slots<string>(3);
  assert.deepEqual([slots.acquire("a"), slots.acquire("b"), slots.acquire("c"), slots.acquire("d")], [0, 1, 2, null]);
  slots.release(0);
  assert.deepEqual([slots.free, slots.lowestFree(), slots.owner(0), slots.owner(7)], [1, 0, null, null]);
  slots.move(2, 0);
  assert.deepEqual(
    [...slots.held()],
    [
      [0, "c"],
      [1, "b"],
    ],
  );
  slots.check();
  for (const wrong of [2, 3, -1]) assert.throws(() => slots.release(wrong), { code: "internal" });
  assert.throws(() => slots.move(0, 1), { code: "internal" }, "onto one that is held");
  assert.throws(() => slots.move(2, 2), { code: "internal" }, "from one that is free");
  assert.throws(() => slots.move(5, 2), { code: "internal" }, "from one that is none");
  slots.check();
});

test("KvCache.copy takes the first tokens of every layer, kind and head, and nothing else", async () => {
  const shape = { layers: [0, 1], states: [], slots: 3, kvHeads: 2, capacity: 5, headDim: 2 };
  const cache = new KvCache(shape);
  const data = () => cache.view(0, 3).map(({ tensor }) => hostData(tensor));
  let next = 1;
  for (const buffer of data()) for (let i = 0; i < buffer.length; i++) buffer[i] = next++;
  const before = data().map((buffer) => [...buffer]);
  await cache.copy(2, 0, 3);
  for (const [b, buffer] of data().entries()) {
    for (const [i, value] of buffer.entries()) {
      const [slot, head, token, d] = [Math.floor(i / 20), Math.floor(i / 10) % 2, Math.floor(i / 2) % 5, i % 2];
      const from = slot === 0 && token < 3 ? 2 * 20 + head * 10 + token * 2 + d : i;
      assert.equal(value, before[b]?.[from], `buffer ${b}, slot ${slot}, head ${head}, token ${token}`);
    }
  }
  assert.deepEqual(
    cache.view(1, 2).map(({ past, present, tensor }) => [past, present, tensor.shape]),
    ["0.key", "0.value", "1.key", "1.value"].map((name) => [`past.${name}`, `present.${name}`, [2, 2, 5, 2]]),
  );
  assert.equal(cache.view(1, 2), cache.view(1, 2), "views are made once");
  assert.equal(cache.bytesPerToken, 2 * 2 * 2 * 2 * 4);
  assert.equal(kvBytesPerToken(shape), cache.bytesPerToken);
});

test("KvCache keeps the states of layers without attention beside keys and values of the others", async () => {
  const states = [{ past: "past.0.window", present: "present.0.window", shape: [2, 3] }];
  const shape = { layers: [1], states, slots: 3, kvHeads: 1, capacity: 4, headDim: 2 };
  const cache = new KvCache(shape);
  assert.deepEqual(
    cache.view(1, 2).map(({ past, present, tensor }) => [past, present, tensor.shape]),
    [
      ["past.1.key", "present.1.key", [2, 1, 4, 2]],
      ["past.1.value", "present.1.value", [2, 1, 4, 2]],
      ["past.0.window", "present.0.window", [2, 2, 3]],
    ],
  );
  const [, , state] = cache.view(0, 3).map(({ tensor }) => hostData(tensor));
  assert.ok(state);
  for (let i = 0; i < state.length; i++) state[i] = i + 1;
  await cache.copy(2, 0, 1);
  assert.deepEqual([...state], [13, 14, 15, 16, 17, 18, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18], "moved whole");
  await cache.enter(1, 0);
  assert.deepEqual([...state.subarray(6, 13)], [0, 0, 0, 0, 0, 0, 13], "and no other slot's");
  assert.equal(cacheBytes(shape), 3 * (4 * cache.bytesPerToken + 2 * 3 * 4));
  assert.equal(cache.tokensWithin(24 + 10 * cache.bytesPerToken), 10);
});

test("groupRows: every row of a group takes its own product of itself, once; the others take none", () => {
  const arbitrary = fc.integer({ min: 1, max: 6 }).chain((groups) =>
    fc.record({
      groups: fc.constant(groups),
      rows: fc.array(fc.integer({ min: -1, max: groups - 1 }), { minLength: 1, maxLength: 20 }),
      minMembers: fc.integer({ min: 1, max: 3 }),
    }),
  );
  fc.assert(
    fc.property(arbitrary, ({ groups, rows, minMembers }) => {
      const { members, toGroups, products, rows: taken } = groupRows(rows, groups, minMembers);
      const largest = Math.max(...Array.from({ length: groups }, (_, g) => rows.filter((row) => row === g).length));
      assert.equal(members, Math.max(minMembers, largest), "no more work than the largest group");
      assert.equal(toGroups.length, groups * members);
      for (const from of toGroups) assert.ok(from >= 0 && from < rows.length);
      const grouped = [...rows.entries()].filter(([, group]) => group >= 0);
      assert.deepEqual(
        [...taken].map(Number),
        grouped.map(([row]) => row),
      );
      assert.equal(products.length, taken.length * 3);
      for (const [i, [row, group]] of grouped.entries()) {
        const [from, zero, member] = [...products.subarray(i * 3, i * 3 + 3)].map(Number);
        assert.deepEqual([from, zero], [group, 0]);
        assert.equal(toGroups[group * members + (member ?? -1)], row);
      }
    }),
    { numRuns: 500 },
  );
});
