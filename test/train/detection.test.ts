/** Matching and measuring detections. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assign } from "../../src/train/detection/assignment.js";
import { averagePrecision, type ScoredBox } from "../../src/train/detection/average-precision.js";
import { type Box, distance, generalizedIou, iou } from "../../src/train/detection/boxes.js";
import { Draws } from "../../src/train/random.js";

/** The least cost of all ways to choose a column for each row. */
function leastCost(costs: readonly (readonly number[])[], used: readonly number[] = []): number {
  const [row, ...rest] = costs;
  if (!row) return 0;
  const options = row.flatMap((cost, column) =>
    used.includes(column) ? [] : [cost + leastCost(rest, [...used, column])],
  );
  return Math.min(...options);
}

test("an assignment has the least cost of all", () => {
  for (let seed = 0; seed < 60; seed++) {
    const draws = new Draws(seed);
    const rows = draws.below(5);
    const columns = rows + draws.below(3);
    // A third of the costs are equal or negative.
    const costs = Array.from({ length: rows }, () =>
      Array.from({ length: columns }, () => (draws.below(3) === 0 ? 1 : 4 * draws.next() - 2)),
    );
    const least = leastCost(costs);
    assert.ok(Math.abs(costOf(costs, rows) - least) < 1e-9, `seed ${seed}`);
    const turned = Array.from({ length: columns }, (_, column) => costs.map((row) => row[column] ?? Number.NaN));
    if (rows > 0) assert.ok(Math.abs(costOf(turned, rows) - least) < 1e-9, `seed ${seed}, turned`);
  }
});

/** The cost of the assignment, which must be of so many pairs. */
function costOf(costs: readonly (readonly number[])[], pairs: number): number {
  const chosen = [...assign(costs).entries()].flatMap(([row, column]) => (column === null ? [] : [{ row, column }]));
  assert.equal(new Set(chosen.map(({ column }) => column)).size, pairs);
  assert.equal(chosen.length, pairs);
  return chosen.reduce((sum, { row, column }) => sum + (costs[row]?.[column] ?? Number.NaN), 0);
}

test("overlaps of boxes", () => {
  const whole: Box = [0.5, 0.5, 1, 1];
  const left: Box = [0.25, 0.5, 0.5, 1];
  const right: Box = [0.75, 0.5, 0.5, 1];
  const corner: Box = [0.125, 0.125, 0.25, 0.25];
  assert.equal(iou(whole, whole), 1);
  assert.equal(iou(whole, left), 0.5);
  assert.equal(iou(left, right), 0);
  assert.equal(generalizedIou(left, right), 0);
  assert.equal(generalizedIou(corner, [0.875, 0.875, 0.25, 0.25]), -(1 - 0.125));
  assert.equal(generalizedIou(whole, left), 0.5);
  assert.equal(iou([0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0]), 0);
  assert.equal(distance(left, right), 0.5);
});

const box: Box = [0.5, 0.5, 0.4, 0.4];
const near: Box = [0.52, 0.5, 0.4, 0.4];
const far: Box = [0.1, 0.1, 0.1, 0.1];
const scored = (score: number, label: number, where: Box): ScoredBox => ({ score, label, box: where });

test("average precision counts an object once, its label, and the order of scores", () => {
  const objects = [{ label: 1, box }];
  assert.equal(averagePrecision([{ found: [scored(0.9, 1, near)], objects }]), 1);
  assert.equal(averagePrecision([{ found: [scored(0.9, 2, near)], objects }]), 0);
  assert.equal(averagePrecision([{ found: [scored(0.9, 1, far)], objects }]), 0);
  assert.equal(averagePrecision([{ found: [scored(0.9, 1, far), scored(0.8, 1, near)], objects }]), 0.5);
  assert.equal(averagePrecision([{ found: [scored(0.9, 1, near), scored(0.8, 1, box)], objects }]), 1);
  assert.equal(averagePrecision([{ found: [], objects: [] }]), 0);
});

test("average precision is a mean over labels, with the best precision at each recall or beyond", () => {
  const pictures = [
    {
      found: [scored(0.9, 1, near), scored(0.6, 2, far)],
      objects: [
        { label: 1, box },
        { label: 2, box: far },
      ],
    },
    { found: [scored(0.8, 1, far), scored(0.7, 1, box)], objects: [{ label: 1, box }] },
    { found: [], objects: [{ label: 2, box }] },
  ];
  // Label 1: right, wrong, right: 1 and 2/3. Label 2: right, and one object missed: 1/2.
  assert.ok(Math.abs(averagePrecision(pictures) - ((1 + 2 / 3) / 2 + 1 / 2) / 2) < 1e-12);
});
