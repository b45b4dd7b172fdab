/** Entities of texts and boxes of detectors, held to transformers: test/fixtures/task-entities.py and task-detections.py wrote what it gives. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import type { Json } from "../../src/base/json.js";
import { detections } from "../../src/gateway/tasks/detections.js";
import { type Aggregation, entitiesOf } from "../../src/gateway/tasks/entities.js";
import { scoredTokens } from "../../src/gateway/tasks/scored-tokens.js";
import { detectorOf } from "../../src/model/task/detector.js";
import { loadRowTokenizer } from "../../src/text/tokenizer/row-tokenizer.js";

interface Fixture {
  readonly labels: readonly string[];
  readonly cases: readonly {
    readonly folder: string;
    readonly text: string;
    readonly logits: readonly (readonly number[])[];
    readonly expected: Readonly<Record<Aggregation, readonly Json[]>>;
  }[];
}

const { labels, cases }: Fixture = JSON.parse(readFileSync("test/fixtures/text/entities.json", "utf8"));

for (const { folder, text, logits, expected } of cases) {
  test(`${folder}: ${JSON.stringify(text)}`, async () => {
    const tokenizer = await loadRowTokenizer(join("test/fixtures/tasks", folder));
    assert.ok(tokenizer);
    after(() => tokenizer.close());
    const row = await tokenizer.encodeRow({ text });
    const shape = [1, logits.length, labels.length];
    const tensor = { type: "float32", shape, data: Float32Array.from(logits.flat()) } as const;
    const tokens = scoredTokens(row, tensor, text, tokenizer);
    for (const [aggregation, wanted] of Object.entries(expected) as [Aggregation, readonly Json[]][]) {
      const join = (words: readonly string[]): string => tokenizer.joinTokens(words);
      const found = entitiesOf(tokens, { aggregation, labels, ignored: ["O"], join });
      const without = ({ score: _, ...others }: Json): Json => others;
      assert.deepEqual(found.map(without), wanted.map(without), aggregation);
      for (const [index, { score }] of found.entries())
        assert.ok(Math.abs(Number(score) - Number(wanted[index]?.score)) < 1e-6, `${aggregation} ${index}`);
    }
  });
}

test("detectors with a score for each label find what transformers' processors find", () => {
  const [queries, labels, width, height] = [7, 3, 120, 90];
  const logits = Float32Array.from({ length: queries * labels }, (_, i) => 3 * Math.sin(1.7 * i) - 1);
  const boxes = Float32Array.from({ length: queries * 4 }, (_, i) => 0.5 + 0.4 * Math.cos(0.9 * i));
  const outputs = new Map([
    ["logits", { type: "float32", shape: [1, queries, labels], data: logits } as const],
    ["pred_boxes", { type: "float32", shape: [1, queries, 4], data: boxes } as const],
  ]);
  interface Expected {
    readonly label: number;
    readonly score: number;
    readonly box: readonly number[];
  }
  const expected: Record<string, Expected[]> = JSON.parse(readFileSync("test/fixtures/task-detections.json", "utf8"));
  for (const [name, wanted] of Object.entries(expected)) {
    const { scores } = detectorOf(`${name}ForObjectDetection`, {});
    const found = detections(outputs, { scores, threshold: 0.3, width, height }, ["a", "b", "c"]);
    assert.deepEqual(
      found.map(({ label, box }) => [label, Object.values(box)]),
      wanted.map(({ label, box }) => ["abc"[label], box]),
    );
    assert.ok(found.every(({ score }, i) => Math.abs(score - (wanted[i]?.score ?? 9)) < 1e-6));
  }
});

test("the labels of a detector's adapter are its own, however many the base has", () => {
  const outputs = new Map([
    ["logits", { type: "float32", shape: [1, 1, 3], data: Float32Array.of(0, 4, 1) } as const],
    ["pred_boxes", { type: "float32", shape: [1, 1, 4], data: Float32Array.of(0.5, 0.5, 1, 1) } as const],
  ]);
  const base = ["a", "b", "c"];
  const labelsOf = (architecture: string | null, adapter: readonly string[] | null): string[] =>
    detections(outputs, { ...detectorOf(architecture, {}), width: 9, height: 9 }, adapter, base).map(
      ({ label }) => label,
    );
  for (const architecture of ["YolosForObjectDetection", "DetrForObjectDetection", null])
    assert.deepEqual(labelsOf(architecture, ["cat", "dog"]), ["dog"]);
  assert.deepEqual(labelsOf("YolosForObjectDetection", null), ["LABEL_1"]);
  assert.throws(() => labelsOf(null, null), /no place for nothing/);
});
