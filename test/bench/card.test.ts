/** The benchmark of a card: its plan, and one run on a tiny shape, with the CPU as the card. Does not test speed. */

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { silent } from "../../src/base/log.js";
import { runCardBench } from "../../src/bench/card-bench.js";
import { cardMovedId, cardRules, cardStepId, cardSteps, maxCardRows } from "../../src/bench/card-plan.js";
import type { StackRequest } from "../../src/bench/stack.js";
import { formatCardReport } from "../../src/cli/bench/card-report.js";
import { engineOptions } from "../../src/cli/options/engine-options.js";
import { resolveSettings } from "../../src/cli/options/settings.js";
import { openStack } from "../../src/cli/stack.js";
import { readDecoderConfig } from "../../src/model/config/read.js";
import { modelShapes } from "../../src/model/shapes.js";

const cacheDirectory = await mkdtemp(join(tmpdir(), "lorikeet-card-"));
after(() => rm(cacheDirectory, { recursive: true, force: true }));

const settings = resolveSettings(engineOptions, {
  flags: { device: "cpu", threads: "1", cacheDir: cacheDirectory },
  environment: {},
  file: {},
});

const open = ({ model, dtype, maxBatch, maxContext, adapterBytes: activeAdapterBytes }: StackRequest) =>
  openStack({
    settings: { ...settings, model, dtype, maxBatch, maxContext, activeAdapterBytes },
    ...{ servedName: "random", adapters: null, gateway: {}, logger: silent, progress: () => {} },
  });

test("steps cover batches of 1 to 64 and 1 to 64 adapters, once each, and every ratio is of measured steps", () => {
  const steps = cardSteps("int4");
  const ids = steps.map(cardStepId);
  assert.equal(new Set(ids).size, ids.length);
  const decodes = steps.filter(({ kind }) => kind === "decode");
  assert.deepEqual([...new Set(decodes.map(({ rows }) => rows))], [1, 4, 16, 64]);
  const largest = decodes.filter(({ rows }) => rows === maxCardRows).map(({ adapters }) => adapters);
  assert.deepEqual(
    largest.toSorted((a, b) => a - b),
    [0, 1, 2, 4, 8, 16, 32, 64],
  );
  const known = new Set(["card/bandwidth", ...ids, ...steps.map(cardMovedId)]);
  for (const { over, under } of cardRules("int4")) assert.ok(known.has(over) && known.has(under ?? ""), over);
});

test("the 8B shape is Llama 3.1's", () => {
  const config = readDecoderConfig(modelShapes["8B"]);
  const sizes = [config.layerCount, config.hiddenSize, config.headDim, config.kvHeadCount, config.vocabSize];
  assert.deepEqual(sizes, [32, 4096, 128, 8, 128_256]);
  assert.equal(config.head.tied, false);
});

test("a run measures every step, the bandwidth and the activation of adapters, and prints them", async () => {
  const report = await runCardBench({ shape: "tiny", dtypes: ["fp32"], quick: true, cacheDirectory, openStack: open });
  assert.equal(report.cells.length, cardSteps("fp32").length);
  for (const { id, tokensPerSecond, bandwidthShare } of report.cells) {
    assert.ok(tokensPerSecond.median > 0 && bandwidthShare > 0, id);
  }
  assert.ok((report.bandwidth.fp32?.median ?? 0) > 0);
  assert.ok((report.activationMs.fp32?.median ?? 0) > 0);
  const printed = formatCardReport(report);
  assert.match(printed, /^fp32 +batch 64 +64 /m);
  assert.match(printed, /^fp32: 16 distinct over one adapter, batch 16 .*>= 0\.9/m);
});
