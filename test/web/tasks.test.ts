/** The page's reading of what pipelines answer. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { readResult } from "../../web/client/tasks.js";

test("each pipeline's answer has a form that can be shown, and any other is kept as it is", () => {
  const label = { label: "7", score: 0.9 };
  assert.deepEqual(readResult([[label]], "text-classification"), { kind: "labels", labels: [label] });
  assert.deepEqual(readResult([label], "image-classification"), { kind: "labels", labels: [label] });
  const entity = { entity_group: "PER", score: 0.5, word: "Ann", start: 0, end: 3 };
  const span = { label: "PER", score: 0.5, start: 0, end: 3 };
  assert.deepEqual(readResult([entity], "token-classification"), { kind: "spans", spans: [span] });
  assert.deepEqual(readResult([], "token-classification"), { kind: "spans", spans: [] });
  const box = { xmin: 1, ymin: 2, xmax: 3, ymax: 4 };
  assert.deepEqual(readResult([{ ...label, box }], "object-detection"), {
    kind: "boxes",
    boxes: [{ ...label, ...box }],
  });
  assert.deepEqual(readResult([{ translation_text: "Guten Tag" }], "translation"), { kind: "text", text: "Guten Tag" });
  assert.deepEqual(readResult([[0.1, 0.2]], "feature-extraction"), { kind: "other", value: [[0.1, 0.2]] });
  assert.deepEqual(readResult({ x: 1 }, "other"), { kind: "other", value: { x: 1 } });
});
