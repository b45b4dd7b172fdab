/** The sampler's promises: the reference's distribution and support, penalties by formula, determinism, refusals, no growth. */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { LorikeetError } from "../../../src/base/errors.js";
import { createSamplerState, Sampler } from "../../../src/engine/sampling/sampler.js";
import { greedy, type SamplingParams } from "../../../src/engine/types.js";
import { at, distribution, noise, ranked, surprise, tempered } from "./reference.js";

function drawMany(row: Float32Array, params: SamplingParams, times: number): number[] {
  const sampler = new Sampler(row.length);
  const state = createSamplerState(params, []);
  return Array.from({ length: times }, () => sampler.sample(row, state).id);
}

const failsWith = (code: string) => (error: unknown) => error instanceof LorikeetError && error.code === code;

/** Rows with ties, gaps and tokens that cannot be chosen: small integers, halves, and -Infinity. */
const tiedRow = fc
  .array(fc.oneof(fc.integer({ min: -3, max: 3 }), fc.constant(Number.NEGATIVE_INFINITY), fc.constant(0.5)), {
    minLength: 1,
    maxLength: 40,
  })
  .filter((row) => row.some((x) => x > Number.NEGATIVE_INFINITY))
  .map((row) => Float32Array.from(row));

const smoothRow = fc
  .tuple(fc.integer({ min: 1, max: 300 }), fc.double({ min: 0.01, max: 30, noNaN: true }), fc.nat(1_000_000))
  .map(([size, sigma, seed]) => noise(size, sigma, seed));

const someParams = fc
  .record({
    temperature: fc.constantFrom(0.3, 0.8, 1, 2, 100),
    topK: fc.constantFrom(0, 1, 2, 5, 50, 1000),
    topP: fc.constantFrom(0, 0.001, 0.1, 0.5, 0.9, 0.95, 0.999, 1),
    minP: fc.constantFrom(0, 0, 0.02, 0.1, 0.5, 1),
    seed: fc.integer({ min: -(2 ** 40), max: 2 ** 40 }),
  })
  .map(tempered);

test("greedy takes the largest logit, the lowest id among equals, as the reference does", () => {
  fc.assert(
    fc.property(fc.oneof(tiedRow, smoothRow), (row) => {
      const id = new Sampler(row.length).sample(row, createSamplerState(greedy, [])).id;
      assert.equal(id, ranked(row)[0]);
    }),
  );
});

test("temperature 0, top-k 1 and top-p 0 give the same token", () => {
  const row = Float32Array.from([1, 3, 3, 2]);
  for (const params of [greedy, tempered({ topK: 1 }), tempered({ topP: 0 }), tempered({ temperature: 1e-6 })]) {
    assert.deepEqual(new Set(drawMany(row, params, 50)), new Set([1]));
  }
});

test("no token outside the support is ever drawn, whatever the row and the parameters", () => {
  fc.assert(
    fc.property(fc.oneof(tiedRow, smoothRow), someParams, (row, params) => {
      const expected = distribution(row, params);
      for (const id of drawMany(row, params, 20)) assert.ok(expected.has(id), `token ${id} is outside the support`);
    }),
    { numRuns: 400, seed: 7 },
  );
});

test("every token of a small support is drawn: ties follow the order of ids", () => {
  const equal = new Float32Array(40);
  const cases: readonly [Partial<SamplingParams>, number][] = [
    [{ topP: 0.5 }, 20],
    [{ topP: 0.07 }, 3],
    [{ topP: 0.075 }, 3],
    [{ topP: 0.0751 }, 4],
    [{ topK: 5 }, 5],
    [{ topK: 10, topP: 0.3 }, 3],
    [{ minP: 1 }, 40],
    [{ topP: 1e-9 }, 1],
    [{ temperature: 1000, topP: 0.25 }, 10],
  ];
  for (const [params, size] of cases) {
    const seen = new Set(drawMany(equal, tempered(params), 400));
    assert.deepEqual(
      [...seen].sort((a, b) => a - b),
      Array.from({ length: size }, (_, id) => id),
      JSON.stringify(params),
    );
  }
});

test("draws follow the reference's distribution on small rows", () => {
  const row = noise(60, 1.5, 3);
  row[7] = Number.NEGATIVE_INFINITY;
  row[9] = at(row, 8);
  const cases: readonly Partial<SamplingParams>[] = [
    {},
    { temperature: 0.5 },
    { temperature: 3 },
    { topP: 0.8 },
    { topP: 0.99, temperature: 2 },
    { topK: 7 },
    { topK: 30, topP: 0.7 },
    { minP: 0.1 },
    { minP: 0.05, topK: 20, topP: 0.9 },
  ];
  for (const params of cases) {
    const full = tempered(params);
    const expected = distribution(row, full);
    const draws = drawMany(row, full, 20_000);
    assert.ok(
      draws.every((id) => expected.has(id)),
      JSON.stringify(params),
    );
    assert.ok(surprise(draws, expected) < 4, `${JSON.stringify(params)}: ${surprise(draws, expected)} deviations`);
  }
});

test("draws follow the reference's distribution on long rows, flat, wide and peaked", () => {
  const peaked = noise(6001, 2, 5);
  for (let i = 0; i < 9; i++) peaked[i * 600] = 19 - i;
  const rows = { flat: noise(6001, 0.7, 4), wide: noise(6001, 3, 6), peaked };
  for (const [name, row] of Object.entries(rows)) {
    for (const params of [
      {},
      { topP: 0.95 },
      { topP: 0.6, temperature: 0.8 },
      { minP: 0.02 },
      { topK: 50, topP: 0.9 },
    ]) {
      const full = tempered(params);
      const expected = distribution(row, full);
      const draws = drawMany(row, full, 2500);
      assert.ok(
        draws.every((id) => expected.has(id)),
        `${name} ${JSON.stringify(params)}`,
      );
      // Ranks in forty cells of equal mass: a flat row has no token that is drawn often.
      const cell = new Map<number, number>();
      const cells = new Map<number, number>();
      let mass = 0;
      for (const [id, probability] of expected) {
        const to = Math.floor(mass * 40);
        cell.set(id, to);
        cells.set(to, (cells.get(to) ?? 0) + probability);
        mass += probability;
      }
      const off = surprise(
        draws.map((id) => cell.get(id) ?? -1),
        cells,
      );
      assert.ok(off < 4.5, `${name} ${JSON.stringify(params)}: ${off} deviations`);
    }
  }
});

test("tokens of nearly equal logits keep their odds", () => {
  // 0.03 nat apart: the better one has 50.75 %.
  const times = 120_000;
  const better = drawMany(Float32Array.from([0, 0.03]), tempered({}), times).filter((id) => id === 1).length;
  const probability = 1 / (1 + Math.exp(-0.03));
  const deviation = Math.sqrt(times * probability * (1 - probability));
  assert.ok(Math.abs(better - times * probability) < 3 * deviation, `${better} of ${times}`);
});

test("top-p cuts a long row of equals at the exact token", () => {
  const row = new Float32Array(5000);
  for (const [topP, size] of [
    [0.002, 10],
    [0.0021, 11],
    [0.01, 50],
  ] as const) {
    const seen = new Set(drawMany(row, tempered({ topP }), 600));
    assert.deepEqual(
      [...seen].sort((a, b) => a - b),
      Array.from({ length: size }, (_, id) => id),
    );
  }
});

test("tokens far below the best keep their share, and top-p can end among them", () => {
  // One token at 0 and 20,000 at -16.2: together they weigh 0.18 % of the best one.
  const row = new Float32Array(20_001).fill(-16.2);
  row[12_345] = 0;
  const rest = 20_000 * Math.exp(-16.2);
  const tail = drawMany(row, tempered({}), 6000).filter((id) => id !== 12_345);
  const mean = (6000 * rest) / (1 + rest);
  assert.ok(Math.abs(tail.length - mean) < 4 * Math.sqrt(mean), `${tail.length} of the tail, ${mean} expected`);
  assert.ok(new Set(tail).size > 0.9 * tail.length, "the tail is drawn evenly");
  const deeper = drawMany(
    row.map((x) => x / 0.9),
    tempered({}),
    6000,
  ).filter((id) => id !== 12_345);
  assert.ok(deeper.length <= 6, `${deeper.length} at -18, 1.8 expected`);
  // Half of the tail's mass is inside: its first 10,000 ids.
  const draws = drawMany(row, tempered({ topP: (1 + rest / 2) / (1 + rest) }), 6000).filter((id) => id !== 12_345);
  assert.ok(draws.length > 2 && draws.every((id) => id <= 10_001), `${Math.max(...draws)} is past the middle`);
});

test("bias comes first, then the repetition penalty over prompt and output, then frequency and presence over the output", () => {
  fc.assert(
    fc.property(
      fc.array(fc.float({ min: -8, max: 8, noNaN: true }), { minLength: 12, maxLength: 12 }),
      fc.array(fc.nat(11), { maxLength: 30 }),
      fc.array(fc.nat(11), { maxLength: 30 }),
      fc.dictionary(fc.constantFrom("0", "5", "11"), fc.integer({ min: -100, max: 100 })),
      fc.constantFrom(1, 1.3, 0.7),
      fc.constantFrom(0, 0.5, -0.5),
      fc.constantFrom(0, 0.25, -1),
      (values, prompt, output, bias, repetitionPenalty, presencePenalty, frequencyPenalty) => {
        const logits = Float32Array.from(values);
        const logitBias = new Map(Object.entries(bias).map(([id, value]) => [Number(id), value]));
        const state = createSamplerState(
          { ...greedy, logitBias, repetitionPenalty, presencePenalty, frequencyPenalty },
          prompt,
        );
        for (const id of output) state.accept(id);
        const adjusted = state.adjust(logits, new Float32Array(12));
        for (let id = 0; id < 12; id++) {
          let x = Math.fround(at(logits, id) + (logitBias.get(id) ?? 0));
          if (prompt.includes(id) || output.includes(id)) x = x > 0 ? x / repetitionPenalty : x * repetitionPenalty;
          const count = output.filter((one) => one === id).length;
          x -= frequencyPenalty * count + (count > 0 ? presencePenalty : 0);
          assert.ok(Math.abs(at(adjusted, id) - x) <= 1e-5, `token ${id}: ${at(adjusted, id)}, by formula ${x}`);
        }
        assert.deepEqual(logits, Float32Array.from(values), "the model's row stays as it was");
      },
    ),
  );
});

test("penalties act on what the sampler itself has chosen", () => {
  const sampler = new Sampler(4);
  const row = Float32Array.from([1, 0.9, 0.8, 0.7]);
  const state = createSamplerState({ ...greedy, presencePenalty: 0.25 }, [0, 0, 0]);
  assert.deepEqual(
    Array.from({ length: 5 }, () => sampler.sample(row, state).id),
    [0, 1, 2, 0, 0],
  );
  assert.equal(state.generated, 5);
  const biased = createSamplerState(
    {
      ...greedy,
      logitBias: new Map([
        [3, 100],
        [0, -100],
      ]),
    },
    [],
  );
  assert.equal(sampler.sample(row, biased).id, 3);
});

test("a seed reproduces its tokens, alone or in a batch; another seed gives others", () => {
  const rows = [noise(2000, 1, 1), noise(2000, 3, 2), noise(2000, 1, 3)];
  const params = (seed: number): SamplingParams => tempered({ seed, topP: 0.95 });
  const alone = rows.map((row, i) => drawMany(row, params(i), 30));
  const sampler = new Sampler(2000);
  const states = rows.map((_, i) => createSamplerState(params(i), []));
  const together: number[][] = rows.map(() => []);
  for (let step = 0; step < 30; step++) {
    for (const i of [2, 0, 1]) {
      const [row, state] = [rows[i], states[i]];
      if (row && state) together[i]?.push(sampler.sample(row, state).id);
    }
  }
  assert.deepEqual(together, alone);
  const [row] = rows;
  assert.ok(row);
  assert.notDeepEqual(drawMany(row, params(77), 30), alone[0]);
  assert.notDeepEqual(drawMany(row, tempered({ seed: null }), 30), drawMany(row, tempered({ seed: null }), 30));
});

test("a row with NaN or +Infinity anywhere is refused, never sampled, and the state stays as it was", () => {
  const kinds = [greedy, tempered({}), tempered({ topK: 3 }), tempered({ topP: 0.9, minP: 0.1 })];
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
    for (const place of [0, 1, 7, 8, 90, 99]) {
      const row = noise(100, 1, 9);
      row[place] = bad;
      for (const params of kinds) {
        const state = createSamplerState(params, []);
        assert.throws(() => new Sampler(100).sample(row, state), failsWith("runtime_failed"), `${bad} at ${place}`);
        assert.equal(state.generated, 0);
      }
      for (const k of [0, 5]) {
        assert.throws(() => new Sampler(100).tokenLogprob(row, 3, k), failsWith("runtime_failed"));
      }
    }
  }
  const empty = new Float32Array(9).fill(Number.NEGATIVE_INFINITY);
  for (const params of kinds) {
    assert.throws(() => new Sampler(9).sample(empty, createSamplerState(params, [])), failsWith("runtime_failed"));
  }
});

test("a biased id outside the vocabulary is refused, and so is a row of another length", () => {
  const state = createSamplerState({ ...greedy, logitBias: new Map([[10, 1]]) }, []);
  assert.throws(() => new Sampler(10).sample(new Float32Array(10), state), failsWith("invalid_value"));
  assert.throws(
    () => new Sampler(10).sample(new Float32Array(11), createSamplerState(greedy, [])),
    failsWith("internal"),
  );
});

test("extreme rows and parameters still give a token of the support", () => {
  const rows = [
    Float32Array.from([3e38, -3e38, 0]),
    Float32Array.from([-3e38, -3e38]),
    Float32Array.from([5]),
    new Float32Array(70_000).fill(-2.5),
    Float32Array.from({ length: 5000 }, (_, i) => -i),
    Float32Array.from({ length: 5000 }, (_, i) => (i === 4999 ? 1 : Number.NEGATIVE_INFINITY)),
  ];
  for (const row of rows) {
    for (const temperature of [1e-5, 1, 1e6]) {
      for (const rest of [{}, { topP: 1e-12 }, { topP: 0.999999999 }, { topK: 4000 }, { minP: 1e-300 }, { minP: 1 }]) {
        const params = tempered({ temperature, ...rest });
        const expected = distribution(row, params);
        for (const id of drawMany(row, params, 3))
          assert.ok(expected.has(id), `${id} of ${row.length}, ${JSON.stringify(params)}`);
      }
    }
  }
});

test("parameters at the edges of what is allowed turn no finite row into one without a token", () => {
  const edges = fc.record({
    temperature: fc.constantFrom(0, 5e-324, 1e-300, 1e-5, 1, 2),
    topK: fc.constantFrom(0, 1, 2, Number.MAX_SAFE_INTEGER),
    topP: fc.constantFrom(5e-324, 1e-300, 0.5, 1 - 2 ** -53, 1),
    minP: fc.constantFrom(0, 5e-324, 1 - 2 ** -53, 1),
    repetitionPenalty: fc.constantFrom(0.01, 1, 10),
    presencePenalty: fc.constantFrom(-2, 0, 2),
    frequencyPenalty: fc.constantFrom(-2, 0, 2),
    seed: fc.constantFrom(0, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER),
    bias: fc.constantFrom(-100, 0, 100),
  });
  const value = fc.constantFrom(3.4028234663852886e38, -3.4028234663852886e38, 1e-45, 0, -1e5, 1e5, -Infinity);
  const row = fc.array(value, { minLength: 1, maxLength: 12 }).filter((values) => values.some((x) => x > -Infinity));
  fc.assert(
    fc.property(row, edges, (values, { bias, ...params }) => {
      const logits = Float32Array.from(values);
      const logitBias = new Map(values.map((_, id) => [id, bias]));
      const ids = values.map((_, id) => id);
      const state = createSamplerState({ ...tempered(params), ...params, logitBias }, ids);
      const sampler = new Sampler(logits.length);
      for (let i = 0; i < 4; i++) {
        const { id } = sampler.sample(logits, state);
        assert.ok(at(logits, id) > -Infinity, `token ${id}`);
      }
    }),
    { numRuns: 2000 },
  );
});

test("sampling returns one result object and allocates no buffers", () => {
  const sampler = new Sampler(3000);
  const row = noise(3000, 1, 8);
  const kinds = [greedy, tempered({ topP: 0.9 }), tempered({ topK: 20 }), { ...greedy, logprobs: 5 }];
  const states = kinds.map((params) => createSamplerState({ ...params, presencePenalty: 0.1 }, []));
  const first = sampler.sample(row, createSamplerState(greedy, []));
  for (const state of states) for (let i = 0; i < 70; i++) sampler.sample(row, state);
  const before = process.memoryUsage().arrayBuffers;
  for (let i = 0; i < 500; i++) for (const state of states) assert.equal(sampler.sample(row, state), first);
  // A row is 12,000 bytes; only the lists of distinct tokens may double.
  assert.ok(process.memoryUsage().arrayBuffers - before < 24_000);
});
