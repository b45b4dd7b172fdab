import assert from "node:assert/strict";
import { test } from "node:test";
import { AsyncQueue } from "../../src/base/async-queue.js";

async function readAll(queue: AsyncQueue<number>): Promise<number[]> {
  const items: number[] = [];
  for await (const item of queue) items.push(item);
  return items;
}

test("a queue delivers in order the items pushed before its end, also to a waiting reader", async () => {
  const queue = new AsyncQueue<number>();
  queue.push(0);
  queue.push(1);
  assert.equal(queue.size, 2);
  const reading = readAll(queue);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(queue.size, 0);
  queue.push(2);
  queue.end(null);
  queue.push(3);
  queue.end(new Error("too late"));
  assert.deepEqual(await reading, [0, 1, 2]);
});

test("a failing queue first delivers the items pushed before", async () => {
  const queue = new AsyncQueue<number>();
  queue.push(1);
  queue.end(new Error("broken"));
  const items: number[] = [];
  await assert.rejects(
    async () => {
      for await (const item of queue) items.push(item);
    },
    { message: "broken" },
  );
  assert.deepEqual(items, [1]);
});
