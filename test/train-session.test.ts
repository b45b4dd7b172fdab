/** What a session of a run promises on the embedded model: the same bits at one thread and at two, however short the rows. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { openCheckpoint } from "../src/model/checkpoint.js";
import { plainBatches } from "../src/train/batches.js";
import type { DataSet, Item } from "../src/train/data/dataset.js";
import { Draws } from "../src/train/random.js";
import { openSession } from "../src/train/session.js";
import { type TrainSettings, trainDefaults } from "../src/train/settings.js";
import { initialState, train } from "../src/train/trainer.js";

const checkpoint = await openCheckpoint("models/bookworm-7m");

/** Rows of random tokens, the first two of each without a label. */
function dataOf(lengths: readonly number[]): DataSet {
  const draws = new Draws(7);
  const train = lengths.map((length, i): Item => {
    const ids = Int32Array.from({ length }, () => 4 + draws.below(4000));
    const trained = new Uint8Array(length).fill(1, 2);
    return [{ ids, trained, promptLength: 2, kind: "text", place: { file: "x", line: i + 1 } }];
  });
  const counts = { records: train.length, shortened: 0, dropped: 0, kinds: {} };
  return { train, valid: train.slice(0, 2), test: [], counts, labels: [], files: [], digest: "" };
}

async function learn(changes: Partial<TrainSettings>, lengths: readonly number[], threads: number) {
  const settings: TrainSettings = { ...trainDefaults, rate: 2e-3, length: 40, accumulate: 1, steps: 2, ...changes };
  await using session = await openSession({ checkpoint, settings, data: dataOf(lengths), threads, initFrom: null });
  const validated: number[] = [];
  await train(
    {
      ...session,
      stepper: session.step,
      rate: session.schedule,
      batches: (step) => session.plan.step(step),
      steps: session.totalSteps,
      validateEvery: 2,
      patience: null,
      maxTimeMs: null,
      signal: new AbortController().signal,
      events: { step() {}, validated: ({ loss }) => void validated.push(loss), async checkpoint() {} },
    },
    initialState(),
  );
  return { values: session.step.values.slice(), validated };
}

test("two threads learn the same bits as one, also from rows with fewer tokens than a layer has columns", async () => {
  const cases: [Partial<TrainSettings>, number[]][] = [
    [{ batch: 1, dropout: 0.1 }, [5, 33]],
    [{ batch: 3, rank: 5 }, [9, 12, 7, 40, 3, 21]],
    [{ batch: 1, packing: true }, [3, 11, 8]],
  ];
  for (const [settings, lengths] of cases) {
    const one = await learn(settings, lengths, 1);
    assert.deepEqual(await learn(settings, lengths, 2), one, JSON.stringify(settings));
    assert.ok(one.values.some((value) => value !== 0));
  }
});

test("padding to so many tokens changes no label, no row and no pair", () => {
  const { train: items } = dataOf([5, 33]);
  const [padded] = plainBatches(items, 2, 128);
  const [plain] = plainBatches(items, 2);
  assert.deepEqual([padded?.rows, padded?.length, plain?.length], [2, 64, 33]);
  const real = (batch = plain) => [...(batch?.labels ?? [])].filter((label) => label >= 0);
  assert.deepEqual(real(padded), real());
});
