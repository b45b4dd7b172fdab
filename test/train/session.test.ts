/** What a session of a run promises on the embedded model: the same bits at one thread and at two, however short the rows. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { openCheckpoint } from "../../src/model/checkpoint/open.js";
import type { Checkpoint } from "../../src/model/types.js";
import { plainBatches } from "../../src/train/data/batches.js";
import type { DataSet, Item } from "../../src/train/data/dataset.js";
import type { TokenRow } from "../../src/train/data/encode.js";
import { openTargets } from "../../src/train/decoder-step.js";
import { Draws } from "../../src/train/random.js";
import { scoreGoal } from "../../src/train/score/goal.js";
import { openScoreSession } from "../../src/train/score/session.js";
import { openSession } from "../../src/train/session.js";
import { type TrainSettings, trainDefaults } from "../../src/train/settings.js";
import { initialState, train } from "../../src/train/trainer.js";
import { onlyWhenLong } from "../support/long.js";

const checkpoint = await openCheckpoint("models/bookworm-7m");
const tiny = await openCheckpoint("test/fixtures/oracle/llama");

/** Rows, or pairs of rows, of random tokens, the first two of each without a label. */
function dataOf(lengths: readonly number[], pairs = false, vocabSize = 4000): DataSet {
  const draws = new Draws(7);
  const row = (length: number, line: number): TokenRow => {
    const ids = Int32Array.from({ length }, () => 4 + draws.below(vocabSize - 4));
    const trained = new Uint8Array(length).fill(1, 2);
    return { ids, trained, promptLength: 2, kind: "text", place: { file: "x", line } };
  };
  const train = lengths.map((length, i): Item => {
    const first = row(length, i + 1);
    return pairs ? [first, row(length + 2, i + 1)] : [first];
  });
  const counts = { records: train.length, shortened: 0, dropped: 0, kinds: {} };
  return { train, valid: train.slice(0, 2), test: [], counts, labels: [], files: [], digest: "", warnings: [] };
}

async function learn(
  changes: Partial<TrainSettings>,
  lengths: readonly number[],
  threads: number,
  base: Checkpoint = checkpoint,
) {
  const settings: TrainSettings = {
    ...trainDefaults,
    learningRate: 2e-3,
    maxLength: 40,
    gradientAccumulationSteps: 1,
    maxSteps: 2,
    ...changes,
  };
  const data = dataOf(lengths, settings.method === "dpo", base.config.vocabSize);
  await using session = await openSession({ checkpoint: base, settings, data, threads, initFrom: null });
  const validated: number[] = [];
  await train(
    {
      ...session,
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
    [{ batchSize: 1, loraDropout: 0.1 }, [5, 33]],
    [{ batchSize: 3, loraR: 5 }, [9, 12, 7, 40, 3, 21]],
    [{ batchSize: 1, packing: true }, [3, 11, 8]],
  ];
  for (const [settings, lengths] of cases) {
    const one = await learn(settings, lengths, 1);
    assert.deepEqual(await learn(settings, lengths, 2), one, JSON.stringify(settings));
    assert.ok(one.values.some((value) => value !== 0));
  }
});

const manners: Readonly<Record<string, Partial<TrainSettings>>> = {
  "rows, dropped and accumulated": {
    loraDropout: 0.1,
    gradientAccumulationSteps: 2,
    useRslora: true,
    loraplusLrRatio: 16,
  },
  "packed rows, activations recomputed": { packing: true, gradientCheckpointing: true },
  pairs: { method: "dpo", loraDropout: 0.1 },
  "every weight": { method: "full" },
  DoRA: { useDora: true },
  "over int8": { dtype: "int8" },
  "pairs over int4": { dtype: "int4", method: "dpo" },
};
for (const [name, settings] of Object.entries(manners)) {
  test(`two threads learn the bits of one: ${name}`, onlyWhenLong, async () => {
    const few = [9, 12, 7, 38, 3, 21];
    for (const [base, lengths] of [
      [checkpoint, few],
      [tiny, few],
      [tiny, [38, 30, 36, 38]],
    ] as const) {
      const asked = { ...settings, batchSize: 4 };
      const one = await learn(asked, lengths, 1, base);
      assert.deepEqual(await learn(asked, lengths, 2, base), one, `${base.directory}, ${lengths}`);
    }
  });
}

for (const method of ["sft", "dpo"] as const) {
  test(`${method}: a step of 4 x 1 is one of 1 x 4 and of 2 x 2, but for rounding`, async () => {
    const lengths = [9, 12, 7, 38, 3, 21, 30, 15, 11, 5];
    const split = (batchSize: number, gradientAccumulationSteps: number) =>
      learn({ method, batchSize, gradientAccumulationSteps, maxSteps: 5, lengthWindow: 2 }, lengths, 1, tiny);
    const whole = await split(4, 1);
    for (const other of [await split(1, 4), await split(2, 2)]) {
      for (const [i, value] of whole.values.entries()) {
        assert.ok(Math.abs(value - (other.values[i] ?? Number.NaN)) < 1e-4, `${value}, ${other.values[i]}`);
      }
      for (const [i, loss] of whole.validated.entries()) {
        assert.ok(Math.abs(loss - (other.validated[i] ?? Number.NaN)) < 1e-5, `${loss}, ${other.validated[i]}`);
      }
    }
  });
}

test("a classification head is not trained together with an adapter of the head that it replaces, tied or not", async () => {
  const counts = { records: 0, shortened: 0, dropped: 0, kinds: {} };
  const data = { train: [], valid: [], test: [], counts, files: [], digest: "", warnings: [] };
  const settings: TrainSettings = { ...trainDefaults, learningRate: 1e-3, targetModules: ["q_proj", "lm_head"] };
  for (const base of [checkpoint, tiny]) {
    const options = { checkpoint: base, settings, threads: 1, initFrom: null };
    const targets = await openTargets(options);
    const goal = scoreGoal(data, ["no", "yes"], null);
    await assert.rejects(
      openScoreSession({ ...options, targets, data, goal }),
      /An adapter of lm_head cannot be trained with/,
    );
  }
});

test("padding to a multiple of tokens changes no label, row or pair", () => {
  const { train: items } = dataOf([5, 33]);
  const [padded] = plainBatches(items, 2, 128);
  const [plain] = plainBatches(items, 2);
  assert.deepEqual([padded?.rows, padded?.length, plain?.length], [2, 64, 33]);
  const real = (batch = plain) => [...(batch?.labels ?? [])].filter((label) => label >= 0);
  assert.deepEqual(real(padded), real());
});
