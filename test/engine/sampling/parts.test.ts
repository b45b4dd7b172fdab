/** The sampler's parts against plain definitions: the generator's published answers, lists of the best, weights, log-probabilities. */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { TokenPool } from "../../../src/engine/sampling/pool.js";
import { choiceSeed, RandomStream, threefry2x32 } from "../../../src/engine/sampling/random.js";
import { createSamplerState, Sampler } from "../../../src/engine/sampling/sampler.js";
import { deepest, edgeWeight, weightAt } from "../../../src/engine/sampling/weight.js";
import { greedy } from "../../../src/engine/types.js";
import { at, noise, ranked } from "./reference.js";

test("Threefry-2x32-20 gives the known answers of Random123", () => {
  const answers: readonly [number, number, number, number, string][] = [
    [0, 0, 0, 0, "6b200159 99ba4efe"],
    [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, "1cb996fc bb002be7"],
    [0x13198a2e, 0x03707344, 0x243f6a88, 0x85a308d3, "c4923a9c 483df7a0"],
  ];
  const block = new Uint32Array(2);
  for (const [k0, k1, c0, c1, answer] of answers) {
    threefry2x32(k0, k1, c0, c1, block);
    assert.equal(Array.from(block, (word) => word.toString(16).padStart(8, "0")).join(" "), answer);
  }
});

test("a stream is a function of seed, token index and draw alone", () => {
  const first = new RandomStream(5);
  const draws = [0, 1, 2].map((index) => {
    first.seek(index);
    return [first.next(), first.next()];
  });
  const again = new RandomStream(5);
  again.seek(2);
  assert.equal(again.next(), draws[2]?.[0]);
  again.seek(0);
  assert.deepEqual([again.next(), again.next()], draws[0]);
  const seeds = [0, 1, -1, 2 ** 32, 2 ** 32 + 1, -(2 ** 33), Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER];
  const values = seeds.map((seed) => new RandomStream(seed).next());
  assert.equal(new Set(values).size, seeds.length, "no two of these seeds share a stream");
});

test("each choice of a request has its own seed, the first one the request's", () => {
  const seeds = [0, 1, 7, -1, -7, 2 ** 32, 2 ** 53 - 2, 2 ** 53 - 1, 2 ** 53, -(2 ** 53), 2 ** 62, -(2 ** 63)];
  const all = seeds.flatMap((seed) => Array.from({ length: 64 }, (_, index) => choiceSeed(seed, index)));
  assert.equal(new Set(all).size, all.length);
  assert.deepEqual(
    seeds.map((seed) => choiceSeed(seed, 0)),
    seeds,
  );
  assert.equal(new Set(all.map((seed) => new RandomStream(seed).next())).size, all.length);
});

test("only allowed ids may come, and ids held back only after the least number of tokens", () => {
  const logits = Float32Array.from([5, 4, 3, 2, 1]);
  const scratch = new Float32Array(5);
  const state = createSamplerState(
    { ...greedy, allowedIds: [1, 3, 4], logitBias: new Map([[4, 9]]), minTokens: 2, heldIds: [4] },
    [],
  );
  assert.deepEqual([...state.adjust(logits, scratch)], [-Infinity, 4, -Infinity, 2, -Infinity]);
  state.accept(1);
  state.accept(1);
  assert.deepEqual([...state.adjust(logits, scratch)], [-Infinity, 4, -Infinity, 2, 10]);
  assert.deepEqual([...logits], [5, 4, 3, 2, 1]);
  const plain = createSamplerState({ ...greedy, heldIds: [0] }, []);
  assert.equal(plain.adjust(logits, scratch), logits, "without a least number nothing is held back");
  assert.equal(new Sampler(5).tokenLogprob(logits, 3, 1).rank, 4);
});

test("draws are uniform in [0, 1), along one token and across tokens", () => {
  const stream = new RandomStream(123);
  for (const along of [true, false]) {
    const counts = new Array<number>(50).fill(0);
    stream.seek(0);
    for (let i = 0; i < 50_000; i++) {
      if (!along) stream.seek(i);
      const u = stream.next();
      assert.ok(u >= 0 && u < 1);
      const cell = Math.floor(u * 50);
      counts[cell] = at(counts, cell) + 1;
    }
    const statistic = counts.reduce((sum, count) => sum + (count - 1000) ** 2 / 1000, 0);
    assert.ok(statistic < 49 + 4 * Math.sqrt(98), `chi-squared ${statistic} with 49 degrees of freedom`);
  }
});

test("weights are exp(-depth / 32) within 2e-12, exact at whole depths", () => {
  for (let i = 0; i <= 20_000; i++) {
    const depth = (deepest * i) / 20_000;
    const exact = Math.exp(-depth / 32);
    assert.ok(Math.abs(weightAt(edgeWeight, depth) - exact) <= 2e-12 * exact, `depth ${depth}`);
  }
  assert.equal(weightAt(edgeWeight, 0), 1);
});

const row = fc.oneof(
  fc
    .array(fc.integer({ min: -2, max: 2 }), { minLength: 1, maxLength: 400 })
    .map((values) => Float32Array.from(values)),
  fc.tuple(fc.integer({ min: 1, max: 3000 }), fc.nat(1000)).map(([size, seed]) => noise(size, 2, seed)),
  fc.integer({ min: 1, max: 600 }).map((size) => Float32Array.from({ length: size }, (_, i) => i)),
  fc.integer({ min: 1, max: 600 }).map((size) => Float32Array.from({ length: size }, (_, i) => -i)),
);

test("a list of the best holds exactly the first k tokens of the order, of a row of any length", () => {
  fc.assert(
    fc.property(row, fc.integer({ min: 1, max: 500 }), (values, k) => {
      const pool = new TokenPool(values.length);
      pool.best(values, k);
      const expected = ranked(values).slice(0, k);
      assert.equal(pool.count, expected.length);
      assert.equal(pool.ids[pool.leader], expected[0]);
      pool.sort();
      assert.deepEqual([...pool.ids.subarray(0, pool.count)], expected);
      for (let i = 0; i < pool.count; i++) assert.equal(pool.values[i], values[expected[i] ?? -1]);
    }),
  );
});

test("a list above a floor holds every token above it, or says that they are too many", () => {
  fc.assert(
    fc.property(row, fc.double({ min: -4, max: 4, noNaN: true }), (values, floor) => {
      const pool = new TokenPool(values.length);
      const expected = [...values.keys()].filter((id) => at(values, id) > floor);
      if (pool.above(values, floor)) assert.deepEqual([...pool.ids.subarray(0, pool.count)], expected);
      else assert.ok(expected.length > 256);
    }),
  );
});

/** log-softmax in float64. */
function logSoftmax(values: Float32Array): number[] {
  const best = values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const total = values.reduce((sum, x) => sum + Math.exp(x - best), 0);
  return Array.from(values, (x) => x - best - Math.log(total));
}

test("log-probabilities are the log-softmax, with the k best in order", () => {
  fc.assert(
    fc.property(
      row,
      fc.constantFrom(1, 0.01, 40),
      fc.integer({ min: 0, max: 20 }),
      fc.nat(),
      (values, factor, k, pick) => {
        const logits = values.map((x) => x * factor);
        if (logits.length > 2) logits[pick % 2] = Number.NEGATIVE_INFINITY;
        const expected = logSoftmax(logits);
        const order = ranked(logits).slice(0, k);
        const id = pick % logits.length;
        const found = new Sampler(logits.length).tokenLogprob(logits, id, k);
        const near = (a: number, b: number): boolean => a === b || Math.abs(a - b) <= 1e-8;
        assert.equal(found.id, id);
        assert.ok(near(found.logprob, at(expected, id)), `${found.logprob}, expected ${at(expected, id)}`);
        assert.deepEqual(
          found.top.map((one) => one.id),
          order,
        );
        for (const one of found.top) assert.ok(near(one.logprob, at(expected, one.id)));
      },
    ),
  );
});

test("sampled tokens carry log-probabilities of the unmodified logits", () => {
  const logits = noise(500, 2, 11);
  const expected = logSoftmax(logits);
  const logitBias = new Map([[3, 100]]);
  const state = createSamplerState(
    { ...greedy, temperature: 0.5, logitBias, presencePenalty: 1, logprobs: 4, seed: 1 },
    [],
  );
  const { id, logprob } = new Sampler(500).sample(logits, state);
  assert.equal(id, 3);
  assert.ok(logprob);
  assert.ok(Math.abs(logprob.logprob - at(expected, 3)) < 1e-8);
  assert.deepEqual(
    logprob.top.map((one) => one.id),
    ranked(logits).slice(0, 4),
  );
  const none = new Sampler(500).sample(logits, createSamplerState(greedy, []));
  assert.equal(none.logprob, null);
});
