/** The page's reader of metrics. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { bucketsOf, parseMetrics, quantileBetween, sumOf } from "../../web/client/metrics.js";

const histogram = (counts: readonly number[]): string =>
  ["0.1", "0.2", "+Inf"].map((bound, at) => `wait_bucket{le="${bound}"} ${counts[at]}`).join("\n");

test("samples are summed by name and labels, whatever the labels hold", () => {
  const samples = parseMetrics(
    [
      "# HELP tokens x",
      'tokens{kind="a",adapter="x\\"},\\n\\\\"} 2',
      'tokens{kind="a"} 3',
      'tokens{kind="b"} 4',
      "plain 1.5e3",
    ].join("\n"),
  );
  assert.equal(sumOf(samples, "tokens"), 9);
  assert.equal(sumOf(samples, "tokens", { kind: "a" }), 5);
  assert.equal(sumOf(samples, "tokens", { adapter: 'x"},\n\\' }), 2);
  assert.equal(sumOf(samples, "plain"), 1500);
  assert.equal(sumOf(samples, "absent"), 0);
});

test("quantiles are of what came between two readings", () => {
  const [before, now] = [histogram([5, 5, 5]), histogram([5, 15, 15])].map((text) =>
    bucketsOf(parseMetrics(text), "wait"),
  );
  assert.ok(before && now);
  assert.equal(quantileBetween(before, now, 0.5), 0.15000000000000002);
  assert.equal(quantileBetween([], now, 0.25), 0.075);
  assert.equal(quantileBetween(now, now, 0.5), null);
  const slow = bucketsOf(parseMetrics(histogram([5, 15, 115])), "wait");
  assert.equal(quantileBetween(now, slow, 0.99), 0.2, "beyond the last bound, it is the last bound");
});
