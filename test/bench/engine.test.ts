/** The benchmark's arithmetic, and one run on a tiny shape: its table, its series, its ratios. Does not test speed. */

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { median } from "../../src/base/median.js";
import { StreamWatch, steadyRate } from "../../src/bench/arrivals.js";
import type { EngineReport } from "../../src/bench/engine-bench.js";
import { interleave } from "../../src/bench/interleave.js";
import { residentBytes } from "../../src/bench/memory.js";
import { caseId, stepCases } from "../../src/bench/plan.js";
import { adapterBytes, randomAdapter } from "../../src/bench/random-adapter.js";
import { computeRatios, movedId, type RatioRule, ratioRules, readBandwidthId } from "../../src/bench/ratios.js";
import { ratioOf, SeriesBook, spreadOf } from "../../src/bench/series.js";
import { shapeConfig } from "../../src/bench/shapes.js";
import { formatReport } from "../../src/cli/bench/report.js";
import { readDecoderConfig } from "../../src/model/config/read.js";
import { readPrinted } from "../support/printed-json.js";
import { runHere } from "../support/program.js";

const cache = await mkdtemp(join(tmpdir(), "lorikeet-bench-"));
after(() => rm(cache, { recursive: true, force: true }));

const series = (id: string, ...samples: number[]) => ({ id, unit: "tokens/s", samples });

const run = (...args: string[]) =>
  runHere(["bench", "engine", ...args], { LORIKEET_CACHE_DIR: cache, LORIKEET_DEVICE: "cpu" });

test("a median is the middle sample, or the mean of the two in the middle, and does not reorder the samples", () => {
  const samples = [9, 1, 5];
  assert.equal(median(samples), 5);
  assert.deepEqual(samples, [9, 1, 5]);
  assert.equal(median([4, 1, 2, 10]), 3);
  assert.deepEqual(spreadOf([4, 1, 2, 10]), { min: 1, median: 3, max: 10 });
  assert.throws(() => median([]), /one sample/);
});

test("a ratio is taken round by round, which cancels drift; for series of different lengths from their medians", () => {
  // Each round is twice as slow as the one before it; within each, one is 0.8 of the other.
  assert.deepEqual(ratioOf(series("a", 80, 40, 20), series("b", 100, 50, 25)), { min: 0.8, median: 0.8, max: 0.8 });
  // The medians would say 2 / 2.
  assert.equal(ratioOf(series("a", 1, 2, 9), series("b", 2, 4, 1)).median, 0.5);
  assert.equal(ratioOf(series("a", 6), series("b", 1, 2, 3)).median, 3);
});

test("a book refuses a duplicate series, an empty one, and one that was not measured", () => {
  const book = new SeriesBook();
  book.add(series("a", 1, 2));
  book.derive("b", "bytes/s", "a", (sample) => 10 * sample);
  assert.deepEqual(book.get("b").samples, [10, 20]);
  assert.throws(() => book.add(series("a", 1)), /once/);
  assert.throws(() => book.add(series("c")), /samples/);
  assert.throws(() => book.get("d"), /d was measured/);
});

test("contenders take turns in alternating order, and warm-up rounds give no samples", async () => {
  const order: string[] = [];
  const contender = (id: string) => ({ id, unit: "x", sample: async () => order.push(id) });
  const measured = await interleave(["a", "b", "c"].map(contender), { rounds: 2, warmups: 1, what: "test" });
  assert.equal(order.join(""), "cbaabccba");
  assert.deepEqual(
    measured.map(({ id, samples }) => [id, samples]),
    [
      ["a", [4, 9]],
      ["b", [5, 8]],
      ["c", [6, 7]],
    ],
  );
});

test("the steady rate counts only tokens that arrived while all streams ran", () => {
  const early = [0, 100, 200, 300, 400];
  const late = [200, 300, 400, 500, 600];
  // From 200 (excluded) to 400: two tokens of each in 0.2 s.
  assert.equal(steadyRate([early, late]), 20);
  assert.throws(() => steadyRate([early, [400, 500]]), /never all ran at once/);
  assert.throws(() => steadyRate([early, []]), /never all ran at once/);
});

test("a watch calls done once, when every stream has produced its tokens while all ran", () => {
  let done = 0;
  const watch = new StreamWatch(2, 2, () => done++);
  const notes = [0, 0, 0, 0, 1, 0, 0, 1, 0, 1];
  for (const [at, stream] of notes.entries()) {
    assert.equal(done, 0, `token ${at}`);
    watch.note(stream, at);
  }
  assert.equal(done, 1);
  watch.note(1, 99);
  watch.note(0, 99);
  assert.equal(done, 1);
  assert.deepEqual(watch.arrivals, [
    [0, 1, 2, 3, 5, 6, 8],
    [4, 7, 9],
  ]);
});

test("each ratio uses its own two series", () => {
  const cases = stepCases("int4").concat(stepCases("int8"));
  const speeds = new Map(cases.map((step, i) => [caseId(step), 1000 + 7 * i]));
  const book = new SeriesBook();
  for (const [id, speed] of speeds) {
    book.add(series(id, speed, speed));
    book.add(series(movedId(id), 2 * speed, 2 * speed));
  }
  book.add(series(readBandwidthId, 4000, 4000));
  const rules = ratioRules(["int4", "int8"]).filter(({ label }) => /int[48]/.test(label));
  const value = (label: string): number => {
    const ratio = computeRatios(rules, book).find((one) => one.label === label);
    assert.ok(ratio, label);
    return ratio.value.median;
  };
  const speed = (id: string): number => {
    const found = speeds.get(id);
    assert.ok(found, id);
    return found;
  };
  const expected: [label: string, over: string, under: string][] = [
    ["int4: base, batch 4 over batch 1", "int4/decode/base/4/greedy", "int4/decode/base/1/greedy"],
    ["int4: base, batch 16 over batch 1", "int4/decode/base/16/greedy", "int4/decode/base/1/greedy"],
    ["int8: one adapter over base, batch 1", "int8/decode/shared/1/greedy", "int8/decode/base/1/greedy"],
    ["int4: one adapter shared over base, batch 16", "int4/decode/shared/16/greedy", "int4/decode/base/16/greedy"],
    ["int4: 16 distinct over base, batch 16", "int4/decode/distinct/16/greedy", "int4/decode/base/16/greedy"],
    [
      "int4: 15 rank 8 with one rank 64 over 16 rank 8",
      "int4/decode/15 r8 + r64/16/greedy",
      "int4/decode/16 r8/16/greedy",
    ],
    ["int4: sampled over greedy, base, batch 16", "int4/decode/base/16/sampled", "int4/decode/base/16/greedy"],
    ["int4: sampled over greedy, 16 distinct", "int4/decode/distinct/16/sampled", "int4/decode/distinct/16/greedy"],
    ["int4: masked over sampled, base, batch 16", "int4/decode/base/16/masked", "int4/decode/base/16/sampled"],
    ["int8 over int4, base, batch 16", "int8/decode/base/16/greedy", "int4/decode/base/16/greedy"],
    ["int8 over int4, prefill", "int8/prefill/base/256", "int4/prefill/base/256"],
  ];
  for (const [label, over, under] of expected) assert.equal(value(label), speed(over) / speed(under), label);
  const share = value("int4: bytes of base, batch 1, over read bandwidth");
  assert.equal(share, (2 * speed("int4/decode/base/1/greedy")) / 4000);
});

test("a ratio is met at its target and on the right side of it; without a target it is neither", () => {
  const book = new SeriesBook();
  book.add(series("a", 3));
  book.add(series("b", 4));
  const rule = (target: RatioRule["target"], under: string | null = "b"): RatioRule => ({
    label: "",
    over: "a",
    under,
    target,
  });
  const met = computeRatios(
    [
      rule({ atLeast: 0.75 }),
      rule({ atLeast: 0.76 }),
      rule({ atMost: 0.75 }),
      rule({ atMost: 0.74 }),
      rule(null),
      rule({ atLeast: 3 }, null),
    ],
    book,
  );
  assert.deepEqual(
    met.map((ratio) => ratio.met),
    [true, false, true, false, null, true],
  );
});

test("forms are compared only if both were measured, and int4's targets apply to int4 only", () => {
  const labels = (...dtypes: ("int4" | "int8")[]) => ratioRules(dtypes).map(({ label }) => label);
  assert.ok(!labels("int4").some((label) => label.startsWith("int8")));
  assert.equal(labels("int4", "int8").filter((label) => label.startsWith("int8 over int4")).length, 2);
  const scaled = ratioRules(["int8"]).find(({ label }) => label === "int8: base, batch 16 over batch 1");
  assert.equal(scaled?.target, null);
});

test("a random adapter is determined by its seed, and its size is as reported", () => {
  const config = readDecoderConfig(shapeConfig("tiny"));
  const [one, same, other] = [randomAdapter(config, 8, 1), randomAdapter(config, 8, 1), randomAdapter(config, 8, 2)];
  assert.deepEqual(one, same);
  assert.notDeepEqual(one.modules, other.modules);
  assert.equal(one.modules.size, 7 * config.layerCount);
  assert.equal(one.bytes, adapterBytes(config, 8));
  assert.equal(residentBytes(one), one.bytes);
});

test("a buffer that a view keeps alive counts in full", () => {
  const whole = new Float32Array(100);
  const module = { rank: 1, dtype: "F32", scale: 1, a: whole.subarray(0, 10), b: whole.subarray(50, 60) } as const;
  const adapter = { digest: "x", rank: 1, bytes: 80, hasGains: false, modules: new Map([["module", module]]) };
  assert.equal(residentBytes(adapter), 400);
});

test("a run measures every step, reads the reported bytes, computes every ratio, and prints them", async () => {
  const { code, out, err } = await run("--shape", "tiny", "--dtype", "int4,int8", "--threads", "1", "--json");
  assert.equal(code, 0, err);
  const report = readPrinted<EngineReport>(out);
  assert.deepEqual(
    report.cells.map(({ id }) => id),
    [...stepCases("int4"), ...stepCases("int8")].map(caseId),
  );
  for (const { id, tokensPerSecond, bandwidthShare } of report.cells) {
    const { min, median: middle, max } = tokensPerSecond;
    assert.ok(min > 0 && min <= middle && middle <= max && bandwidthShare > 0, id);
  }
  const config = readDecoderConfig(shapeConfig("tiny"));
  const bytes = (id: string): number => report.cells.find((cell) => cell.id === id)?.bytesPerStep ?? Number.NaN;
  const kvBytes = 257 * config.layerCount * 2 * config.kvHeadCount * config.headDim * 4;
  const base = bytes("int4/decode/base/16/greedy");
  assert.equal(bytes("int4/decode/base/1/greedy"), (report.weightBytes.int4 ?? 0) + kvBytes);
  assert.equal(base - bytes("int4/decode/base/1/greedy"), 15 * kvBytes);
  assert.equal(bytes("int4/decode/shared/16/greedy") - base, adapterBytes(config, 16));
  assert.equal(bytes("int4/decode/distinct/16/greedy") - base, 16 * adapterBytes(config, 16));
  assert.equal(
    bytes("int4/decode/15 r8 + r64/16/greedy") - base,
    15 * adapterBytes(config, 8) + adapterBytes(config, 64),
  );
  assert.equal(bytes("int8/decode/base/4/greedy") - bytes("int8/decode/base/1/greedy"), 3 * kvBytes);
  assert.deepEqual(
    report.ratios.map(({ label }) => label),
    ratioRules(["int4", "int8"]).map(({ label }) => label),
  );
  assert.ok(report.ratios.every(({ value }) => Number.isFinite(value.median) && value.median > 0));
  const active = report.ratios.find(({ label }) => label.startsWith("active set"));
  assert.equal(active?.value.median, 1);

  const printed = formatReport(report);
  const words = (line: string): string => line.replace(/ +/g, " ").trim();
  const lines = printed.split("\n").map(words);
  assert.ok(lines.some((line) => line.startsWith("int4 batch 16 distinct sampled ")));
  assert.ok(lines.some((line) => line.startsWith("int8 prefill 256 shared ")));
  assert.ok(lines.some((line) => /^int4: base, batch 4 over batch 1 [\d. ]+ >= 1.75 (met|missed)$/.test(line)));
  for (const { label } of report.ratios) assert.ok(printed.includes(label), label);
});

test("a shape or a form that does not exist is one line and exit code 2", async () => {
  for (const [args, pattern] of [
    [["--shape", "7B"], /--shape must be one of 135M, 360M, 1B, 8B, not "7B"/],
    [["--dtype", "int4,int2"], /--dtype must be one of fp32, fp16, int8, int4/],
    [["--dtype", ""], /--dtype must be one of/],
    [["--threads", "0"], /--threads must be/],
  ] as const) {
    const { code, out, err } = await run(...args);
    assert.deepEqual([code, out], [2, ""], args.join(" "));
    assert.match(err, pattern);
  }
});
