/** Objectives over given outputs: losses and gradients against what transformers or the formula gives, and their metrics. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { backward } from "../../../src/autodiff/backward.js";
import type { TaskRequest } from "../../../src/engine/task/types.js";
import { GraphBuilder } from "../../../src/graph/builder.js";
import { Ops } from "../../../src/graph/ops.js";
import type { Value } from "../../../src/graph/types.js";
import { Tensor } from "../../../src/runtime/tensor.js";
import type { Box } from "../../../src/train/detection/boxes.js";
import type { Assessment } from "../../../src/train/tasks/assessment.js";
import { cosines } from "../../../src/train/tasks/losses.js";
import { Chrf } from "../../../src/train/tasks/metrics/chrf.js";
import { spearman } from "../../../src/train/tasks/metrics/spearman.js";
import { actionValues, advantages } from "../../../src/train/tasks/objectives/actions.js";
import { classification } from "../../../src/train/tasks/objectives/classification.js";
import { detection, shownObjects } from "../../../src/train/tasks/objectives/detection.js";
import { scoredPairs } from "../../../src/train/tasks/objectives/embeddings.js";
import { independentLabels } from "../../../src/train/tasks/objectives/independent-labels.js";
import { shownChances, shownContinuous, shownValues } from "../../../src/train/tasks/objectives/shown-actions.js";
import { evaluateServed } from "../../../src/train/tasks/served-task.js";
import type { Outputs, TaskExample, TaskInputs, TaskObjective } from "../../../src/train/tasks/types.js";
import { runner } from "../../support/differences.js";
import { runGraph } from "../../support/task-models.js";

interface Computed {
  readonly loss: number;
  /** By output. */
  readonly gradients: ReadonlyMap<string, Float32Array>;
}

/** The loss of rows with these outputs, and its gradients. */
async function compute<T>(
  objective: TaskObjective<T>,
  outputs: Outputs,
  targets: readonly T[],
  rows: number,
): Promise<Computed> {
  const builder = new GraphBuilder("objective");
  const op = new Ops(builder);
  const values = new Map<string, Value>();
  for (const [name, { shape }] of outputs) values.set(name, builder.input(name, "float32", shape));
  const loss = objective.loss(op, values, new Map());
  builder.output(loss);
  const gradients = backward(builder, loss, [...values.values()]);
  for (const gradient of gradients.values()) builder.output(gradient);
  const feeds = await objective.feeds(targets, rows, 1 / targets.length, {
    inputs: new Map(),
    predict: async () => outputs,
  });
  const [found, ...rest] = await (await runner(builder.build()))(new Map([...outputs, ...feeds]));
  const names = [...values.keys()];
  return {
    loss: Number(found?.data[0]),
    gradients: new Map(rest.map(({ data }, i) => [names[i] ?? "", data as Float32Array])),
  };
}

function assertNear(found: ArrayLike<number> | undefined, expected: readonly number[], bound = 2e-6): void {
  assert.equal(found?.length, expected.length);
  for (const [i, value] of expected.entries()) {
    assert.ok(Math.abs(value - (found?.[i] ?? Number.NaN)) <= bound, `${i}: ${found?.[i]}, not ${value}`);
  }
}

const floats = (shape: readonly number[], values: readonly number[]): Tensor =>
  Tensor.from("float32", shape, Float32Array.from(values));

test("chrF over a corpus is sacreBLEU's chrF2", () => {
  for (const [pairs, expected] of [
    [
      [
        ["vor 3 Tagen", "vor 30 Tagen"],
        ["Franckreich und Japan", "Frankreich, Japan und Südkorea"],
        ["ab", "ab"],
      ],
      39.98311833758595,
    ],
    [
      [
        ["a bc", "a bd"],
        ["", "x"],
        ["Wo ist es?", "Wo ist er jetzt?"],
      ],
      35.46137289301187,
    ],
    [[["🍋 bä", "🍋 bär"]], 68.86227544910179],
    [[["x", "yz"]], 0],
  ] as const) {
    const chrf = new Chrf();
    for (const [found, wanted] of pairs) chrf.add(found, wanted);
    assert.ok(Math.abs(chrf.score() - expected) < 1e-9, `${chrf.score()}, not ${expected}`);
  }
});

interface DetrCase {
  readonly shape: readonly [number, number, number];
  readonly logits: readonly number[];
  readonly boxes: readonly number[];
  readonly targets: readonly { readonly labels: readonly number[]; readonly boxes: readonly Box[] }[];
  readonly loss: number;
  readonly logits_gradient: readonly number[];
  readonly boxes_gradient: readonly number[];
}

for (const [file, what] of [
  [
    "detr-loss",
    "detection has the matches, the loss and the gradients of transformers' DETR, and padding changes nothing",
  ],
  ["detr-loss-crowded", "so it has where a picture shows more objects than there are queries"],
] as const) {
  test(what, async () => {
    const path = `test/fixtures/detection/${file}.json`;
    const { shape, logits, boxes, targets, ...expected }: DetrCase = JSON.parse(readFileSync(path, "utf8"));
    const [rows, queries, labels] = shape;
    const objective = detection(["a", "b", "c"]);
    const wanted = targets.map((target) => ({
      objects: target.labels.map((label, i) => ({ label: "abc"[label] ?? "", box: target.boxes[i] as Box })),
    }));
    for (const padding of [0, 1]) {
      const count = rows + padding;
      const more = (values: readonly number[]): number[] => [
        ...values,
        ...values.slice(0, (padding * values.length) / rows),
      ];
      const outputs = new Map([
        ["logits", floats([count, queries, labels + 1], more(logits))],
        ["pred_boxes", floats([count, queries, 4], more(boxes))],
      ]);
      const { loss, gradients } = await compute(objective, outputs, wanted, count);
      assertNear([loss], [expected.loss]);

      const blank = (length: number): number[] => Array.from({ length: (padding * length) / rows }, () => 0);
      assertNear(gradients.get("logits"), [...expected.logits_gradient, ...blank(logits.length)]);
      assertNear(gradients.get("pred_boxes"), [...expected.boxes_gradient, ...blank(boxes.length)]);
    }
  });
}

test("detection measures AP50 over the labels", async () => {
  const box: Box = [0.5, 0.5, 0.4, 0.4];
  const meter = detection(["a", "b"]).meter();
  const outputs = new Map([
    ["logits", floats([1, 2, 3], [4, 0, 0, 0, 0, 4])],
    ["pred_boxes", floats([1, 2, 4], [...box, 0.1, 0.1, 0.1, 0.1])],
  ]);
  meter.add(outputs, [{ objects: [{ label: "a", box }] }], new Map());
  assert.deepEqual(meter.metrics(), { ap50: 1 });
  meter.add(outputs, [{ objects: [{ label: "b", box }] }], new Map());
  assert.deepEqual(meter.metrics(), { ap50: 0.5 });
});

test("what a detector is sure of is shown beside what is there", async () => {
  const shown = shownObjects(["b", "a"], ({ place }) => `picture ${place.line}`);
  const logits = floats([2, 2, 3], [...[9, 0, 0, 0, 9, 0], ...[0, 0, 9, 1, 1, 1]]);
  const outputs = new Map([
    ["logits", logits],
    ["pred_boxes", floats([2, 2, 4], Array(16).fill(0.5))],
  ]);
  const rowOf = (line: number, ...labels: string[]): TaskExample => {
    const target = { objects: labels.map((label) => ({ label, box: [0.5, 0.5, 0.1, 0.1] })) };
    return { source: line, target, size: 1, place: { file: "rows.jsonl", line } };
  };
  const { samples } = await shown.assess([rowOf(1, "b", "a", "a"), rowOf(2)], {
    ...{ batchSize: 2, predict: async () => outputs },
  });
  assert.deepEqual(samples, [
    { prompt: "picture 1", expected: "a, a, b", answer: "a, b" },
    { prompt: "picture 2", expected: "nothing", answer: "nothing" },
  ]);
});

test("what a policy of actions or values does is shown beside what was recorded", async () => {
  const outputs = new Map([
    ["action", floats([1, 9], [0.5, 1, 2, 3, 4, 5, 6, 7, 8])],
    ["logits", floats([1, 2], [0, Math.log(3)])],
    ["value", floats([1, 1], [1.5])],
  ]);
  const answered = async (shown: Assessment, target: unknown) => {
    const source = new Map([["observation", { shape: [2], data: Float32Array.of(0.25, -1) }]]);
    const row = { source, target, size: 1, place: { file: "rows.jsonl", line: 1 } };
    const { samples } = await shown.assess([row], { batchSize: 1, predict: async () => outputs });
    return samples.map(({ prompt, expected, answer }) => [prompt, expected, answer])[0];
  };
  const seen = "0.25, -1";
  const judged = { action: 1, advantage: 0.5, earned: null, probability: null };
  for (const [shown, target, expected, answer] of [
    [shownContinuous("action"), new Float32Array(9), `${"0, ".repeat(8)}...`, "0.5, 1, 2, 3, 4, 5, 6, 7, ..."],
    [shownValues("logits"), { action: 1, target: 1 }, "action 1: 1", "action 1: 1.1"],
    [shownChances("logits", null), judged, "action 1: likelier", "action 1: 75 % likely"],
    [shownChances("logits", null), { ...judged, advantage: -1 }, "action 1: less likely", "action 1: 75 % likely"],
    [shownChances("logits", "value"), { ...judged, advantage: null, earned: 12 }, "return 12", "return 1.5"],
  ] as const) {
    assert.deepEqual(await answered(shown, target), [seen, expected, answer]);
  }
});

test("a value of an action moves to its target by Huber's loss", async () => {
  const objective = actionValues("q");
  const outputs = new Map([["q", floats([3, 2], [1, 2, 3, 4, 9, 9])]]);
  const targets = [
    { action: 0, target: 1.5 }, // 0.5 · 0.5²
    { action: 1, target: 1 }, // 3 - 0.5
  ];
  const { loss, gradients } = await compute(objective, outputs, targets, 3);
  assertNear([loss], [(0.125 + 2.5) / 2]);
  assertNear(gradients.get("q"), [-0.25, 0, 0, 0.5, 0, 0]);
  const meter = objective.meter();
  meter.add(outputs, targets, new Map());
  assert.deepEqual(meter.metrics(), { mean_absolute_error: 1.75 });
});

test("an action becomes likelier by its advantage, and a value moves to what was earned", async () => {
  const outputs = new Map([
    ["logits", floats([2, 2], [Math.log(3), 0, 0, 0])],
    ["value", floats([2, 1], [1, 2])],
  ]);
  const targets = [
    { action: 1, advantage: 2, earned: 3, probability: null },
    { action: 0, advantage: null, earned: null, probability: null },
  ];
  const entropy = -(0.75 * Math.log(0.75) + 0.25 * Math.log(0.25));
  const { loss, gradients } = await compute(advantages("logits", "value"), outputs, targets, 2);
  assertNear([loss], [(-2 * Math.log(0.25) - 0.01 * entropy + 0.5 * 4) / 2]);
  assertNear(gradients.get("value"), [-1, 0]);
  const bend = 0.01 * 0.75 * 0.25 * Math.log(3); // of the entropy, by the first logit
  assertNear(gradients.get("logits"), [(2 * 0.75 + bend) / 2, (-2 * 0.75 - bend) / 2, 0, 0]);
  const meter = advantages("logits", "value").meter();
  meter.add(outputs, targets, new Map());
  const { likelihood = 0, value_error: error = 0 } = meter.metrics();
  assertNear([likelihood, error], [(0.25 + 0.5) / 2, 2]);
});

test("returns weigh by how much likelier the policy takes their actions than the recorded one", () => {
  const meter = advantages("logits", null).meter();
  const outputs = new Map([["logits", floats([3, 2], [Math.log(3), 0, 0, 0, 0, 0])]]);
  const targets = [
    { action: 0, advantage: 1, earned: 10, probability: 0.5 }, // 0.75 / 0.5
    { action: 1, advantage: 1, earned: 4, probability: 0.25 }, // 0.5 / 0.25
    { action: 1, advantage: 1, earned: null, probability: 1 },
  ];
  meter.add(outputs, targets, new Map());
  assertNear([meter.metrics().mean_return ?? 0], [(1.5 * 10 + 2 * 4) / 3.5]);
});

test("labels that do not exclude one another have the loss and gradients of torch's cross-entropy of sigmoids", async () => {
  const objective = independentLabels(["a", "b", "c"], "logits");
  const outputs = new Map([["logits", floats([3, 3], [2, -1, 0, -30, 4, 80, 9, 9, 9])]]);
  const targets = [["a", "c"], ["c"]];
  const { loss, gradients } = await compute(objective, outputs, targets, 3);
  assertNear([loss / 3], [0.8585811]);
  assertNear(
    gradients.get("logits")?.map((value) => value / 3),
    [-0.0198672, 0.0448236, -0.0833333, 0, 0.163669, 0, 0, 0, 0],
  );
  const meter = objective.meter();
  meter.add(outputs, targets, new Map());
  // a: 1 of 1; b: found, not expected; c: one of two.
  assert.deepEqual(meter.metrics(), { accuracy: 0, micro_f1: (2 * 2) / (3 + 3), macro_f1: (1 + 0 + 2 / 3) / 3 });
});

test("the cosine of two texts moves to their score, and Spearman's correlation compares the orders", async () => {
  const objective = scoredPairs({ output: "vectors", pooling: null });
  const outputs = new Map([["vectors", floats([4, 2], [1, 2, 0.5, -1, 3, 1, 2, 2])]]);
  const { loss, gradients } = await compute(objective, outputs, [0.2, -0.4], 2); // as torch's cosine_similarity and mse_loss
  assertNear([loss], [0.1320875]);
  const expected = [0.1434315, -0.0717157, 0.0635787, 0.0317893, -0.0358578, 0.1075736, 0.0198683, -0.0198683];
  assertNear(gradients.get("vectors"), expected);
  const meter = objective.meter();
  meter.add(outputs, [0.2, -0.4], new Map());
  assert.deepEqual(meter.metrics(), { spearman: 1 });
  assertNear([spearman([1, 2, 3, 4, 5], [5, 6, 7, 8, 7])], [0.8207827]); // ties, as scipy's spearmanr
  assert.equal(spearman([1, 1, 1], [1, 2, 3]), 0);
});

test("an evaluation names the row that the model computes no numbers for", async () => {
  const batch = [0.5, Number.NaN, Number.NEGATIVE_INFINITY].map((source, row) => {
    return { source, target: "up", size: 1, place: { file: "rows.jsonl", line: row + 1 }, isEmpty: false };
  });
  const engine = {
    signature: { inputs: [], outputs: [], isBatched: true },
    submit({ inputs }: TaskRequest) {
      const logit = Number(inputs.get("x")?.data[0]);
      const logits = { type: "float32", shape: [1, 2], data: Float32Array.of(logit, 1) } as const;
      const result = Promise.resolve({ outputs: new Map([["logits", logits]]), queueMs: 0, labels: null });
      return { admitted: Promise.resolve(), result };
    },
  };
  const inputs: TaskInputs<unknown> = {
    feeds: async (sources) =>
      new Map([["x", Tensor.from("float32", [sources.length], Float32Array.from(sources, Number))]]),
  };
  const objective = classification(["up", "down"], "logits") as TaskObjective<unknown>;
  const evaluate = (rows: readonly TaskExample[]) =>
    evaluateServed(
      { engine, digest: null },
      { inputs, objective, batches: [rows], signal: new AbortController().signal, needsNumbers: true },
    );
  await assert.rejects(evaluate(batch), /The model computed NaN in logits of rows.jsonl:2/);
  const pictures = batch.map((row) => ({ ...row, place: { file: "up/cat.png", line: null } }));
  await assert.rejects(evaluate(pictures), /NaN in logits of up\/cat\.png\.$/);
  const { metrics } = await evaluate([0, 2].flatMap((row) => batch[row] ?? []));
  assert.equal(metrics.accuracy, 0);
});

test("a vector of zeros has the cosine 0", async () => {
  const builder = new GraphBuilder("cosines");
  const [a, b] = ["a", "b"].map((name) => builder.input(name, "float32", [2, 2]));
  assert.ok(a && b);
  builder.output(cosines(new Ops(builder), a, b));
  const vectors = [Float32Array.of(0, 0, 3, 4), Float32Array.of(1, 1, 3, 4)].map((data, i) => {
    return ["ab"[i] ?? "", Tensor.from("float32", [2, 2], data)] as const;
  });
  const [found] = (await runGraph(builder.build(), new Map(vectors))).values();
  assert.deepEqual([...(found?.data ?? [])], [0, 1]);
});
