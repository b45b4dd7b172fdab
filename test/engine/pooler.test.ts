/** One vector of a prompt, whatever the chunks in which its states arrive. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Pooler, type Pooling } from "../../src/engine/pooler.js";

describe("a pooler", () => {
  const states = Float32Array.of(1, -2, 3, 5, -4, 6); // [3, 2]

  const of = (pooling: Pooling, sizes: readonly number[]) => {
    const pooler = new Pooler(pooling, 3);
    let start = 0;
    for (const size of sizes) {
      const end = start + size;
      pooler.add(start, size, states.slice(2 * (pooler.readsAll ? start : end - 1), 2 * end));
      start = end;
    }
    const { vector, classified } = pooler.finish();
    return [[...vector], [...classified]];
  };

  test("gives the same vector whatever the chunks are", () => {
    for (const sizes of [[3], [1, 2], [2, 1], [1, 1, 1]]) {
      assert.deepEqual(of({ modes: ["last"], place: 2 }, sizes), [
        [-4, 6],
        [-4, 6],
      ]);
      assert.deepEqual(of({ modes: ["last"], place: 0 }, sizes), [
        [-4, 6],
        [1, -2],
      ]);
      assert.deepEqual(of({ modes: ["cls"], place: 1 }, sizes), [
        [1, -2],
        [3, 5],
      ]);
      assert.deepEqual(of({ modes: ["mean"], place: 2 }, sizes), [
        [0, 3],
        [-4, 6],
      ]);
      assert.deepEqual(of({ modes: ["weightedmean", "mean_sqrt_len_tokens", "last"], place: 2 }, sizes)[0], [
        ...[-5 / 6, 13 / 3, 0, 9 / Math.sqrt(3), -4, 6].map(Math.fround),
      ]);
      assert.deepEqual(of({ modes: ["max"], place: 2 }, sizes), [
        [3, 6],
        [-4, 6],
      ]);
    }
  });
});
