/** What the loop of a run promises, over a small quadratic in place of a model: accumulation, resuming, patience, divergence, interruption. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { noLabel, type TokenBatch } from "../../src/train/data/batch.js";
import { type BatchOptions, BatchPlan, plainBatches } from "../../src/train/data/batches.js";
import type { Item } from "../../src/train/data/dataset.js";
import { decoderTrainable } from "../../src/train/decoder-trainable.js";
import { dropoutMasks } from "../../src/train/dropout.js";
import { nextToken, type Stepper } from "../../src/train/objectives.js";
import { addDecayedWeights, chain, scaleByAdam, scaleByRate } from "../../src/train/optimizer/optimizer.js";
import { Draws } from "../../src/train/random.js";
import { scheduleOf, totalSteps, trainDefaults } from "../../src/train/settings.js";
import { initialState, type TrainerOptions, type TrainState, train } from "../../src/train/trainer.js";

function itemsOf(lengths: readonly number[]): Item[] {
  return lengths.map((length, i): Item => {
    const trained = new Uint8Array(length).fill(1, Math.min(2, length - 1));
    const ids = Int32Array.from({ length }, (_, t) => 1 + ((i * 7 + t) % 11));
    return [{ ids, trained, promptLength: 2, kind: "text", place: { file: "x", line: i + 1 } }];
  });
}

const lengths = [5, 9, 3, 12, 7, 4, 8, 6, 11, 5, 3];

/** loss = Σ over labels of weight · Σ (value - label)², as a model's would be divided. */
function quadratic(values = new Float32Array(4)): Stepper & { runs: number } {
  const gradients = new Float32Array(values.length);
  const labelsOf = (batch: TokenBatch): number[] => [...batch.labels].filter((label) => label !== noLabel);
  return {
    values,
    gradients,
    runs: 0,
    async run(batch, { labelWeight = 1, signal } = {}) {
      signal?.throwIfAborted();
      this.runs++;
      gradients.fill(0);
      let loss = 0;
      for (const label of labelsOf(batch)) {
        for (const [i, value] of values.entries()) {
          loss += labelWeight * (value - label * 0.1) ** 2;
          gradients[i] = (gradients[i] as number) + 2 * labelWeight * (value - label * 0.1);
        }
      }
      return {
        loss,
        tokenLosses: new Float32Array(),
        tokenHits: null,
        scores: null,
        labelled: { places: new Int32Array(), labels: new Int32Array() },
      };
    },
    async evaluate(batch) {
      const tokenLosses = Float32Array.from(labelsOf(batch), (label) =>
        values.reduce((sum, value) => sum + (value - label * 0.1) ** 2, 0),
      );
      return {
        loss: 0,
        tokenLosses,
        tokenHits: null,
        scores: null,
        labelled: { places: new Int32Array(), labels: new Int32Array() },
      };
    },
  };
}

interface Saved {
  readonly state: TrainState;
  readonly values: Float32Array;
  readonly optimizer: string;
}

function runOf(
  changes: Partial<TrainerOptions<TokenBatch>> & { batchSize?: number; gradientAccumulationSteps?: number } = {},
) {
  const { batchSize = 2, gradientAccumulationSteps = 2, ...options } = changes;
  const plan = new BatchPlan(itemsOf(lengths), {
    batchSize,
    gradientAccumulationSteps,
    seed: 3,
    lengthWindow: 4,
    packLength: null,
  });
  const stepper = quadratic();
  const optimizer = chain(
    4,
    scaleByAdam(),
    addDecayedWeights(0.01),
    scaleByRate(() => 0.05),
  );
  const saved: Saved[] = [];
  const losses: number[] = [];
  const pieces = (): string =>
    JSON.stringify(optimizer.state.map(({ state }) => [Object.values(state.arrays).map((a) => [...a]), state.numbers]));
  const all: TrainerOptions<TokenBatch> = {
    trainable: decoderTrainable({ stepper, objective: nextToken }),
    optimizer,
    rate: () => 0.05,
    batches: (step) => plan.step(step),
    validation: plainBatches(itemsOf([6, 4]), 2),
    steps: 12,
    validateEvery: 4,
    patience: null,
    maxTimeMs: null,
    signal: new AbortController().signal,
    events: {
      step: ({ loss }) => void losses.push(loss),
      validated: () => {},
      async checkpoint(state) {
        saved.push({ state: structuredClone(state), values: stepper.values.slice(), optimizer: pieces() });
      },
    },
    now: () => 0,
    ...options,
  };
  return { all, stepper, optimizer, saved, losses, plan };
}

test("a run resumed from any checkpoint ends like an uninterrupted one", async () => {
  const whole = runOf();
  assert.equal(await train(whole.all, initialState()), "done");
  assert.deepEqual(
    whole.saved.map(({ state }) => state.step),
    [0, 4, 8, 12],
  );
  for (const [i, from] of whole.saved.entries()) {
    const later = runOf();
    later.stepper.values.set(from.values);
    for (const [p, [arrays, numbers]] of (JSON.parse(from.optimizer) as [number[][], object][]).entries()) {
      const { state } = later.optimizer.state[p] as (typeof later.optimizer.state)[number];
      Object.values(state.arrays).forEach((array, a) => {
        array.set(arrays[a] as number[]);
      });
      Object.assign(state.numbers, numbers);
    }
    await train(later.all, structuredClone(from.state));
    assert.deepEqual(later.stepper.values, whole.stepper.values, `from checkpoint ${i}`);
    assert.deepEqual(later.saved.at(-1)?.state ?? from.state, whole.saved.at(-1)?.state);
  }
});

const splits = [
  [8, 1],
  [1, 8],
  [2, 4],
  [4, 2],
] as const;

test("8 × 1, 1 × 8, 2 × 4 and 4 × 2 rows per step learn the same, whatever their numbers of labels", async () => {
  const ends = await Promise.all(
    splits.map(async ([batchSize, gradientAccumulationSteps]) => {
      const items = itemsOf(Array.from({ length: 61 }, (_, i) => 3 + ((i * 7) % 19)));
      const plan = new BatchPlan(items, {
        batchSize,
        gradientAccumulationSteps,
        seed: 3,
        lengthWindow: 2,
        packLength: null,
      });
      const run = runOf({ batches: (step) => plan.step(step) });
      await train(run.all, initialState());
      return [...run.stepper.values];
    }),
  );
  for (const end of ends) {
    end.forEach((x, i) => {
      assert.ok(Math.abs(x - (ends[0]?.[i] as number)) < 1e-6);
    });
  }
});

/** The rows of each step, by their lines, in no order. */
function rowsOfSteps(items: readonly Item[], options: BatchOptions, steps: number): string[] {
  const lineOf = new Map(items.map(([{ ids, place }]) => [ids.join(), place.line]));
  const plan = new BatchPlan(items, options);
  return Array.from({ length: steps }, (_, step) => {
    const lines = plan.step(step).flatMap(({ rows, length, ids, segments }) =>
      Array.from({ length: rows }, (_, row) => {
        const begin = row * length;
        const part = segments?.subarray(begin, begin + length) ?? new Int32Array();
        return Array.from({ length: Math.max(...part) }, (_, i) => {
          const own = ids.subarray(begin + part.indexOf(i + 1), begin + part.lastIndexOf(i + 1) + 1);
          return lineOf.get(own.join());
        });
      }),
    );
    return lines
      .flat()
      .sort((a, b) => (a ?? 0) - (b ?? 0))
      .join();
  });
}

for (const [name, changes] of [
  ["padded rows", {}],
  ["padded rows, sorted over many steps", { lengthWindow: 32 }],
  ["packed rows", { packLength: 40 }],
] as const) {
  test(`${name}: the same make a step, however it is split`, () => {
    const items = itemsOf(Array.from({ length: 61 }, (_, i) => 3 + ((i * 7) % 19))).map(
      ([row], i): Item => [{ ...row, ids: row.ids.map((id, t) => (t === 0 ? 100 + i : id)) }],
    );
    const [first, ...others] = splits.map(([batchSize, gradientAccumulationSteps]) =>
      rowsOfSteps(
        items,
        { batchSize, gradientAccumulationSteps, seed: 3, lengthWindow: 4, packLength: null, ...changes },
        20,
      ),
    );
    for (const other of others) assert.deepEqual(other, first);
    assert.ok(new Set(first).size > 8 && first?.every((lines) => /^\d+(,\d+)*$/.test(lines)), "each epoch has its own");
  });
}

test("an interruption saves the last complete step and discards a partial one", async () => {
  const controller = new AbortController();
  const run = runOf({ signal: controller.signal });
  const { step } = run.all.events;
  const events = {
    ...run.all.events,
    step: (report: Parameters<typeof step>[0]) => void (report.step === 6 && controller.abort()),
  };
  const state = initialState();
  assert.equal(await train({ ...run.all, events }, state), "interrupted");
  assert.deepEqual([state.step, run.saved.at(-1)?.state.step], [6, 6]);
});

test("a loss that is not a number stops at once and leaves the parameters alone", async () => {
  const broken = runOf();
  const run = broken.stepper.run.bind(broken.stepper);
  let runs = 0;
  const values = broken.stepper.values;
  broken.stepper.run = async (...args) => ({ ...(await run(...args)), loss: ++runs > 6 ? Number.NaN : 1 });
  const state = initialState();
  assert.equal(await train(broken.all, state), "diverged");
  assert.equal(state.step, 3);
  assert.deepEqual(values.slice(), broken.stepper.values);
  assert.ok(
    broken.saved.every((saved) => saved.state.step < 3),
    "what is kept is from before",
  );
});

/** Where a run with these losses ends, and how: without validation rows, or with a validation of the untouched weights. */
async function endOf(
  lossAt: (step: number) => number,
  validated: number | null = null,
): Promise<[end: string, step: number]> {
  const run = runOf({ steps: 200, validateEvery: 1000, ...(validated === null ? { validation: [] } : {}) });
  const honest = run.stepper.run.bind(run.stepper);
  const evaluate = run.stepper.evaluate.bind(run.stepper);
  run.stepper.evaluate = async (...args) => {
    const result = await evaluate(...args);
    return { ...result, tokenLosses: result.tokenLosses.fill(validated ?? Number.NaN) };
  };
  let runs = 0;
  // Two runs make a step, and the loss of a step is their sum.
  run.stepper.run = async (...args) => ({ ...(await honest(...args)), loss: lossAt(runs++ >> 1) / 2 });
  const state = initialState();
  return [await train({ ...run.all, batches: () => run.plan.step(0) }, state), state.step];
}

test("a loss far above its running mean for 20 steps has diverged, at the start too", async () => {
  assert.deepEqual(await endOf((step) => (step < 100 ? 2 : 9)), ["diverged", 119]);
  assert.deepEqual(await endOf((step) => (step < 5 ? 4 : 100)), ["diverged", 39]);
  assert.deepEqual(await endOf((step) => (step < 50 ? 0.01 : 3)), ["diverged", 69]);
  assert.deepEqual(await endOf((step) => (step < 50 ? -40 : -15)), ["diverged", 69]);
});

test("a run that collapses in its first steps has diverged from the loss of the untouched weights", async () => {
  for (const from of [1, 3, 10, 19]) {
    const collapsing = (step: number): number => (step < from ? 2.5 : 9);
    assert.deepEqual(await endOf(collapsing, 2.6), ["diverged", from + 19]);
    assert.deepEqual(await endOf((step) => (step < from ? 0.7 : 6), 0.69), ["diverged", from + 19]);
  }
});

test("runs that learn are not ended: an easy first batch, a resumed run, waves, a spike that recovers", async () => {
  const wave = (step: number): number => 1 + Math.sin(step * 2.1);
  const losses: Readonly<Record<string, (step: number) => number>> = {
    "an easy first batch": (step) => (step < 2 ? 0.1 : 2.5 - step / 100),
    "learned by heart, then other rows": (step) => 0.005 + 0.4 * Math.min(1, step / 40),
    waves: (step) => 2 * wave(step),
    "rare hard rows": (step) => (step % 9 === 0 ? 12 : 0.2),
    "a spike": (step) => (step >= 60 && step < 78 ? 30 : 1),
    falling: (step) => 8 * Math.exp(-step / 30),
    "negative, as a policy gradient's": (step) => -40 + 15 * Math.sin(step * 2.1),
  };
  for (const [name, lossAt] of Object.entries(losses)) {
    for (const validated of [null, 2.5]) assert.deepEqual(await endOf(lossAt, validated), ["done", 200], name);
  }
});

test("a validation that is not a number ends the run before it is saved", async () => {
  const run = runOf();
  const evaluate = run.stepper.evaluate.bind(run.stepper);
  run.stepper.evaluate = async (...args) => {
    const result = await evaluate(...args);
    return run.losses.length < 8 ? result : { ...result, tokenLosses: result.tokenLosses.map(() => Number.NaN) };
  };
  const state = initialState();
  assert.equal(await train(run.all, state), "diverged");
  assert.deepEqual([state.step, state.last?.step, run.saved.at(-1)?.state.step], [8, 4, 4]);
});

test("early stopping ends a run that no longer improves; the time limit ends one with a validation", async () => {
  const idle = runOf({ rate: () => 0, optimizer: chain(4), patience: 2, steps: 100 });
  idle.stepper.values.fill(0.3);
  const still = { ...idle.all, optimizer: { state: [], step: () => {} } };
  const state = initialState();
  assert.equal(await train(still, state), "patience");
  assert.deepEqual([state.step, state.best?.step], [8, 0]);
  let time = 0;
  const timed = runOf({ steps: 1000, validateEvery: 500, maxTimeMs: 100, now: () => (time += 10) });
  const late = initialState();
  assert.equal(await train(timed.all, late), "time");
  assert.ok(late.step > 0 && late.step < 20 && late.validatedAt === late.step);
});

test("each epoch has every row once, in an order that seed and epoch decide", () => {
  const items = itemsOf(Array.from({ length: 101 }, (_, i) => 3 + (i % 17)));
  const firsts = (plan: BatchPlan, epoch: number): string[] =>
    Array.from({ length: plan.stepsPerEpoch }, (_, i) => plan.step(epoch * plan.stepsPerEpoch + i)).flatMap((runs) =>
      runs.flatMap(({ rows, length, ids, segments }) =>
        Array.from({ length: rows }, (_, row) => {
          const begin = row * length;
          const real = segments?.subarray(begin, begin + length).filter((s) => s === 1).length ?? 0;
          return `${ids[begin]}:${real}`;
        }),
      ),
    );
  const options = { batchSize: 4, gradientAccumulationSteps: 3, seed: 5, lengthWindow: 32, packLength: null };
  const plan = new BatchPlan(items, options);
  const expected = items.map(([{ ids }]) => `${ids[0]}:${ids.length}`).sort();
  assert.deepEqual([...firsts(plan, 0)].sort(), expected);
  assert.deepEqual([...firsts(plan, 1)].sort(), expected);
  assert.notDeepEqual(firsts(plan, 0), firsts(plan, 1));
  assert.deepEqual(firsts(new BatchPlan(items, options), 1), firsts(plan, 1), "whatever was asked before");
  assert.notDeepEqual(firsts(new BatchPlan(items, { ...options, seed: 6 }), 0), firsts(plan, 0));
  const computed = plan.runSizes().reduce((a, b) => a + b, 0);
  assert.ok(computed < 1.35 * items.reduce((sum, [{ ids }]) => sum + ids.length, 0), "like lengths lie together");
});

test("packing places every row once, within the length, each in its own segment", () => {
  const items = itemsOf(Array.from({ length: 300 }, (_, i) => 3 + ((i * 5) % 17)));
  const plan = new BatchPlan(items, {
    batchSize: 2,
    gradientAccumulationSteps: 1,
    seed: 5,
    lengthWindow: 4,
    packLength: 32,
  });
  for (const epoch of [0, 1]) {
    let [rows, labels] = [0, 0];
    for (let i = 0; i < plan.stepsPerEpoch; i++) {
      for (const batch of plan.step(epoch * plan.stepsPerEpoch + i)) {
        assert.ok(batch.length <= 32);
        for (let row = 0; row < batch.rows; row++) {
          const part = batch.segments?.subarray(row * batch.length, (row + 1) * batch.length) ?? new Int32Array();
          rows += Math.max(...part);
        }
        labels += nextToken.count(batch);
      }
    }
    assert.equal(rows, 300);
    assert.equal(
      labels,
      items.reduce((sum, [{ trained }]) => sum + trained.reduce((a, b) => a + b, 0), 0),
    );
  }
  const real = items.reduce((sum, [{ ids }]) => sum + ids.length, 0);
  assert.ok(plan.runSizes().reduce((a, b) => a + b, 0) < 1.1 * real, "little is padding");
});

test("masks depend only on seed, step, run and module, and drop the given fraction", () => {
  const modules = [
    { name: "a", width: 64, rows: "tokens" as const },
    { name: "b", width: 64, rows: "tokens" as const },
  ];
  const sizes = { tokens: 200, labels: 10 };
  const at = { seed: 1, step: 2, run: 0 };
  const data = (dropout: number, place = at): number[][] =>
    [...dropoutMasks(modules, dropout, sizes, place).values()].map((mask) => [...(mask.data as Uint8Array)]);
  const [a = [], b = []] = data(0.25);
  const kept = a.reduce((sum, x) => sum + x, 0) / a.length;
  assert.ok(Math.abs(kept - 0.75) < 0.02, `${kept}`);
  assert.deepEqual(data(0.25), [a, b]);
  assert.notDeepEqual(a, b);
  assert.notDeepEqual(data(0.25, { ...at, step: 3 })[0], a);
  assert.notDeepEqual(data(0.25, { ...at, run: 1 })[0], a);
});

test("draws are uniform, and different for each place", () => {
  const draws = new Draws(42, 1, 2);
  const values = Array.from({ length: 20_000 }, () => draws.next());
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  assert.ok(Math.abs(mean - 0.5) < 0.01 && values.every((x) => x >= 0 && x < 1));
  assert.notEqual(new Draws(42, 1, 3).word(), new Draws(42, 1, 2).word());
  assert.notEqual(new Draws(42).word(), new Draws(42, 0).word());
  assert.deepEqual(
    [...new Draws(1, 1).permutation(100)].sort((x, y) => x - y),
    [...Array(100).keys()],
  );
});

test("warmup takes a count of steps, or below 1 a fraction rounded up as in transformers", () => {
  const peakAt = (warmupSteps: number, total: number): number => {
    const rate = scheduleOf({ ...trainDefaults, learningRate: 1, lrSchedulerType: "constant", warmupSteps }, total);
    return Array.from({ length: total }, (_, step) => rate(step)).indexOf(1);
  };
  assert.deepEqual([peakAt(0, 50), peakAt(1, 50), peakAt(7, 50), peakAt(0.1, 50), peakAt(0.1, 51)], [0, 1, 7, 5, 6]);
  assert.equal(peakAt(100, 50), 49, "the last step has the peak at the latest");
});

test("the schedule warms up over 3 % and at least 5 steps, and falls to a tenth", () => {
  const rate = scheduleOf({ ...trainDefaults, learningRate: 1 }, 1000);
  assert.ok(rate(0) > 0 && rate(0) < 0.05);
  assert.ok(Math.abs(rate(30) - 1) < 1e-9, `${rate(30)}`);
  assert.ok(Math.abs(rate(999) - 0.1) < 1e-6, `${rate(999)}`);
  for (const total of [1, 2, 5, 6]) {
    const short = scheduleOf({ ...trainDefaults, learningRate: 1 }, total);
    for (let step = 0; step < total; step++) assert.ok(short(step) > 0 && short(step) <= 1, `${step} of ${total}`);
  }
  assert.equal(totalSteps({ ...trainDefaults, epochs: 1.5 }, 10), 15);
  assert.equal(totalSteps({ ...trainDefaults, maxSteps: 7 }, 10), 7);
});
