/** A card that was found and does not work: `--device auto` goes on with the CPU and says so, a card that was asked for is refused. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import type { Logger } from "../../src/base/log.js";
import { silent } from "../../src/base/log.js";
import { engineOptions } from "../../src/cli/options/engine-options.js";
import { resolveSettings } from "../../src/cli/options/settings.js";
import { openStack, planStack } from "../../src/cli/stack.js";
import { openTaskStack, planTaskStack } from "../../src/cli/task-stack.js";
import { defaultImageLimits } from "../../src/image/preprocessor.js";
import { oracleRoot } from "../support/oracle.js";
import { taskRoot } from "../support/task-models.js";

const card = { name: "Card N", memoryBytes: 2 ** 33, computeCapability: "9.0", cudaVersion: "13.0" };

/** Opens a stack for a card whose provider is not installed. */
async function openFor(device: "auto" | "cuda", logger: Logger) {
  const flags = { device: "cpu", threads: "1", model: join(oracleRoot, "llama"), maxBatch: "2", maxContext: "40" };
  const settings = resolveSettings(engineOptions, { flags, environment: {}, file: {} });
  const options = { servedName: "llama", adapters: null, gateway: {}, logger, progress: () => {} };
  const plan = await planStack({ ...options, settings });
  const chosen = { kind: "cuda", why: "its provider is installed", card } as const;
  return await openStack({ ...options, settings: { ...settings, device } }, { ...plan, device: chosen });
}

test("auto goes on with the CPU, and warns", async () => {
  const warnings: string[] = [];
  const logger: Logger = { ...silent, warn: (_, message) => void warnings.push(message) };
  await using stack = await openFor("auto", logger);
  assert.equal(stack.device.kind, "cpu");
  assert.equal(stack.deviceFacts.why, "the card was not taken");
  assert.equal(warnings.length, 1);
  assert.match(warnings[0] ?? "", /^CUDA does not start on Card N: .* The CPU runs the model instead\.$/);
});

test("a card that was asked for by name is refused", async () => {
  await assert.rejects(openFor("cuda", silent), {
    code: "device_unavailable",
    message: /CUDA does not start on Card N/,
  });
});

test("a task model follows the same rule", async () => {
  const flags = { device: "cpu", threads: "1", model: join(taskRoot, "policy-mlp") };
  const settings = resolveSettings(engineOptions, { flags, environment: {}, file: {} });
  const plan = { ...(await planTaskStack({ settings })), device: { kind: "cuda", why: "it was found", card } as const };
  const warnings: string[] = [];
  const logger: Logger = { ...silent, warn: (_, message) => void warnings.push(message) };
  const images = defaultImageLimits;
  const parts = { servedName: null, adapters: null, gateway: {}, images, trialTimeoutMs: 60_000 };
  const openFor = (device: "auto" | "cuda") =>
    openTaskStack({ ...parts, settings: { ...settings, device }, logger, progress: () => {} }, plan);
  await assert.rejects(openFor("cuda"), { code: "device_unavailable" });
  await using stack = await openFor("auto");
  assert.deepEqual([stack.device.kind, stack.deviceFacts.why], ["cpu", "the card was not taken"]);
  assert.match(warnings[0] ?? "", /^CUDA does not start on Card N: .* The CPU runs the model instead\.$/);
  assert.equal(warnings.length, 1);
});
