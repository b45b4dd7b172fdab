/** Optimizer parts against numbers computed by hand or by torch 2, and schedules at their edges. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { countPositions, labelledPlaces, noLabel } from "../../src/train/data/batch.js";
import {
  addDecayedWeights,
  chain,
  clipByGlobalNorm,
  globalNorm,
  scaleByAdam,
  scaleByRate,
} from "../../src/train/optimizer/optimizer.js";
import { constant, cosine, linear, withWarmup } from "../../src/train/optimizer/schedule.js";

const near = (found: ArrayLike<number>, expected: readonly number[], bound = 1e-6): void => {
  assert.equal(found.length, expected.length);
  expected.forEach((x, i) => {
    assert.ok(Math.abs((found[i] as number) - x) <= bound, `[${i}] ${found[i]}, expected ${x}`);
  });
};

test("clipping scales only large gradients, and the norm of NaN is NaN", () => {
  const clip = (...values: number[]): Float32Array => {
    const gradients = Float32Array.from(values);
    chain(values.length, clipByGlobalNorm(1)).step(new Float32Array(values.length), gradients, 0);
    return gradients;
  };
  near(clip(3, 4), [0.6, 0.8]);
  near(clip(0.25, 0.5), [0.25, 0.5], 0);
  near(clip(0, 0), [0, 0], 0);
  assert.ok(Number.isNaN(globalNorm(Float32Array.of(1, Number.NaN))));
  assert.equal(globalNorm(Float32Array.of(3e30, 4e30)) > 4.9e30, true, "large gradients do not overflow");
});

test("Adam with decoupled decay steps as the paper says", () => {
  const parameters = Float32Array.of(1, -2);
  const adamW = chain(2, scaleByAdam(), addDecayedWeights(0.1), scaleByRate(constant(0.01)));
  adamW.step(parameters, Float32Array.of(0.5, -0.25), 0);
  // The first step is the gradient's sign, whatever its size; decay is 0.01 * 0.1 of the parameter.
  near(parameters, [1 - 0.01 - 0.001, -2 + 0.01 + 0.002]);
  adamW.step(parameters, Float32Array.of(0.5, 0.25), 1);
  const [m, v] = [0.9 * -0.025 + 0.025, 0.999 * 6.25e-5 + 6.25e-5];
  const adam = m / (1 - 0.81) / (Math.sqrt(v / (1 - 0.999 ** 2)) + 1e-8);
  near(parameters, [0.989 - 0.01 - 0.001 * 0.989, -1.988 - 0.01 * adam + 0.001 * 1.988]);
});

test("decay moves parameters whose gradient is zero, and no decay leaves them", () => {
  const run = (decay: number): number => {
    const parameters = Float32Array.of(4);
    chain(1, scaleByAdam(), addDecayedWeights(decay), scaleByRate(constant(0.5))).step(
      parameters,
      Float32Array.of(0),
      0,
    );
    return parameters[0] as number;
  };
  near([run(0.1), run(0)], [4 - 0.5 * 0.1 * 4, 4]);
});

test("groups have their own learning rates", () => {
  const parameters = new Float32Array(4);
  const rate = scaleByRate(constant(1), [{ begin: 1, end: 3, factor: 16 }]);
  chain(4, rate).step(parameters, Float32Array.of(1, 1, 1, 1), 0);
  near(parameters, [-1, -16, -16, -1], 0);
});

test("the state is complete: an optimizer that restores it continues bit for bit", () => {
  const make = () => chain(3, clipByGlobalNorm(1), scaleByAdam(), addDecayedWeights(0.01), scaleByRate(constant(0.1)));
  const gradient = (i: number): Float32Array => Float32Array.of(Math.sin(i), Math.cos(2 * i), 0.1 * i);
  const whole = { optimizer: make(), parameters: Float32Array.of(1, 2, 3) };
  for (let i = 0; i < 6; i++) whole.optimizer.step(whole.parameters, gradient(i), i);
  const first = { optimizer: make(), parameters: Float32Array.of(1, 2, 3) };
  for (let i = 0; i < 3; i++) first.optimizer.step(first.parameters, gradient(i), i);
  const second = make();
  second.state.forEach(({ state }, piece) => {
    const saved = first.optimizer.state[piece]?.state;
    for (const [name, array] of Object.entries(state.arrays)) array.set(saved?.arrays[name] ?? []);
    Object.assign(state.numbers, saved?.numbers);
  });
  for (let i = 3; i < 6; i++) second.step(first.parameters, gradient(i), i);
  assert.deepEqual(first.parameters, whole.parameters);
});

test("schedules have their documented rates at the first, the middle and the last step", () => {
  const rates = withWarmup(4, cosine(1, 11, 0.1));
  near([0, 3, 4, 9, 14, 99].map(rates), [0.2, 0.8, 1, 0.55, 0.1, 0.1]);
  near([0, 5, 10, 20].map(linear(2, 11)), [2, 1, 0, 0]);
  near([0, 1000].map(constant(3)), [3, 3]);
  near([cosine(1, 1)(0)], [1]);
});

test("a label's position is one before its token, never across rows or sequences", () => {
  const labels = Int32Array.of(9, 8, noLabel, 7, 6, 5, noLabel, 4);
  const batch = { rows: 2, length: 4, ids: new Int32Array(8), labels };
  assert.deepEqual(labelledPlaces(batch), { places: Int32Array.of(0, 2, 4, 6), labels: Int32Array.of(8, 7, 5, 4) });
  const segments = Int32Array.of(1, 1, 2, 2, 1, 2, 2, 2);
  assert.deepEqual(labelledPlaces({ ...batch, segments }).places, Int32Array.of(0, 2, 6));
  assert.deepEqual(countPositions({ rows: 2, length: 4, segments }), Int32Array.of(0, 1, 0, 1, 0, 0, 1, 2));
  assert.deepEqual(countPositions({ rows: 2, length: 2 }), Int32Array.of(0, 1, 0, 1));
});
