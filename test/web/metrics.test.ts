/** The page's reader of metrics. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { bucketsOf, parseMetrics, quantileBetween, sumOf } from "../../web/client/metrics.js";
import { pointOf, readingOf } from "../../web/load/reading.js";
import { nextTop, ticksOf, topFor } from "../../web/load/scale.js";

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

test("rows of task models are no tokens, and every base's requests count", () => {
  const at = (scale: number): string =>
    [
      `lorikeet_batch_rows_sum{base="text"} ${12 * scale}`,
      `lorikeet_batch_rows_sum{base="digits"} ${40 * scale}`,
      `lorikeet_batch_rows_count{base="text"} ${6 * scale}`,
      `lorikeet_batch_rows_count{base="digits"} ${20 * scale}`,
      `lorikeet_time_to_first_token_seconds_count{base="text"} ${2 * scale}`,
      `lorikeet_inter_token_seconds_count{base="text"} ${10 * scale}`,
      `lorikeet_requests_total{base="text",outcome="ok"} ${2 * scale}`,
      `lorikeet_requests_total{base="digits",outcome="ok"} ${4 * scale}`,
      `lorikeet_rejections_total{base="digits",code="queue_full"} ${2 * scale}`,
    ].join("\n");
  const [before, now] = [readingOf(at(1), 0), readingOf(at(2), 2_000)];
  const point = pointOf(before, before, now);
  assert.deepEqual(
    [point.tokensPerSecond, point.rows, point.requestsPerSecond, point.rejectionsPerSecond],
    [6, 2, 3, 1],
  );
});

test("each base has its own slots and queue, and a task model has no slots", () => {
  const ofTwo = [
    'vllm:num_requests_running{base="text"} 2',
    'vllm:num_requests_running{base="digits"} 3',
    'vllm:num_requests_waiting{base="text"} 1',
    'vllm:num_requests_waiting{base="digits"} 0',
    'lorikeet_kv_slots{base="text",state="idle"} 14',
  ].join("\n");
  assert.deepEqual(Object.fromEntries(readingOf(ofTwo, 0).bases), {
    text: { running: 2, waiting: 1, slots: 16 },
    digits: { running: 3, waiting: 0, slots: null },
  });
  const ofOne = 'vllm:num_requests_running 2\nvllm:num_requests_waiting 1\nlorikeet_kv_slots{state="idle"} 6';
  assert.deepEqual(Object.fromEntries(readingOf(ofOne, 0).bases), { "": { running: 2, waiting: 1, slots: 8 } });
});

test("a scale has a round top and half, grows at once and shrinks late", () => {
  const unit = { show: String, least: 1 };
  assert.deepEqual(
    [0, 0.3, 1.2, 3, 16, 41].map((value) => topFor(value, unit)),
    [1, 1, 2, 4, 20, 100],
  );
  assert.equal(topFor(9.4e6, { show: String, least: 1, isBinary: true }), 2 ** 24);
  const seen: number[] = [];
  for (const value of [3, 12, 9, 5.1, 4, 0.5]) seen.push(nextTop(seen.at(-1) ?? 0, value, unit));
  assert.deepEqual(seen, [4, 20, 20, 20, 4, 1]);
  assert.deepEqual(
    ticksOf(4, unit).map(({ text }) => text),
    ["0", "2", "4"],
  );
});
