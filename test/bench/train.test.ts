/** The training benchmark: its count of products against the graph that runs, and one run on a tiny shape. Does not test speed. */

import assert from "node:assert/strict";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { shapeConfig } from "../../src/bench/shapes.js";
import type { TrainReport } from "../../src/bench/train-bench.js";
import { ceilingMs, countProducts } from "../../src/bench/train-products.js";
import { formatTrainReport } from "../../src/cli/bench/train.js";
import { readDecoderConfig } from "../../src/model/config/read.js";
import { readPrinted } from "../support/printed-json.js";
import { runHere } from "../support/program.js";

const cache = await mkdtemp(join(tmpdir(), "lorikeet-bench-train-"));
after(() => rm(cache, { recursive: true, force: true }));

const run = (...args: string[]) => runHere(["bench", "train", ...args], { LORIKEET_CACHE_DIR: cache });

test("the counted products of a step equal those of 135M, counted by hand", () => {
  const config = readDecoderConfig(shapeConfig("135M"));
  const products = countProducts({ config, rows: 4, length: 256, labels: 1020, rank: 16 });
  const layer = 576 * 576 * 2 + 2 * 576 * 192 + 3 * 576 * 1536;
  const first = 576 * (576 + 2 * 192);
  assert.equal(products.linears, 2 * 1024 * (2 * 30 * layer - first));
  assert.equal(products.adapters, 2 * 1024 * 3 * 16 * 30 * (2 * 1152 + 2 * 768 + 3 * 2112));
  assert.equal(products.attention, 2 * 6 * 30 * 4 * 9 * 256 * 256 * 64);
  assert.equal(products.head, 4 * 1020 * 576 * 49152);
  const sum = products.linears + products.adapters + products.attention + products.head;
  assert.equal(ceilingMs(products, { fp32: 1e9, linears: 1e9 }), sum / 1e6);
  assert.ok(ceilingMs(products, { fp32: 1e9, linears: 2e9 }) < sum / 1e6);
});

test("a run reports every sample, a loss that falls, memory, rates and profiles", async () => {
  const prefix = join(cache, "profile");
  const shape = ["--shape", "tiny", "--max-length", "64", "--dtype", "fp32,int8"];
  const { code, out, err } = await run("--json", "--quick", ...shape, "--profile", prefix);
  assert.equal(code, 0, err);
  const report = readPrinted<TrainReport>(out);
  const [cell, quantized] = report.cells;
  assert.ok(cell && quantized && report.cells.length === 2);
  assert.deepEqual([cell.dtype, quantized.dtype], ["fp32", "int8"]);
  assert.ok(Math.abs((quantized.losses[0] ?? 0) - (cell.losses[0] ?? 0)) < 0.1, "the same model in another form");
  assert.notEqual(quantized.losses[0], cell.losses[0]);
  assert.equal(cell.stepMs.samples.length, report.effort.samples);
  assert.equal(cell.losses.length, report.effort.samples + report.effort.warmups);
  assert.ok(Math.abs((cell.losses[0] ?? 0) - Math.log(1024)) < 0.5, `loss ${cell.losses[0]} of random tokens`);
  assert.ok((cell.losses[1] ?? 9) < (cell.losses[0] ?? 0), "it learns its own rows");
  assert.ok(cell.peakBytes > cell.restBytes && cell.restBytes > 2 ** 24);
  assert.ok(cell.rates.fp32 > 0 && cell.rates.int8 > 0 && cell.ceilingShare > 0);
  assert.deepEqual(cell.aims, [], "no aim is set for this shape");
  assert.match(formatTrainReport(report), /tiny .* fp32/);
  const profiles = (await readdir(cache)).filter((name) => name.startsWith("profile"));
  assert.equal(profiles.length, 2);
});

test("a shape or a form that does not exist is a wrong command line", async () => {
  assert.equal((await run("--shape", "2B")).code, 2);
  assert.equal((await run("--dtype", "fp8")).code, 2);
});
