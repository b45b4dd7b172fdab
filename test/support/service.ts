/** The whole service for tests: what `serve` wires, with its real engine, listening on a free port of loopback. */
import assert from "node:assert/strict";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Logger, silent } from "../../src/base/log.js";
import { resolveSettings } from "../../src/cli/options/settings.js";
import { basesOfModels } from "../../src/cli/serve/base-settings.js";
import type { BaseStack } from "../../src/cli/serve/opened-bases.js";
import { serveOptions } from "../../src/cli/serve/options.js";
import { openService as open, type Service } from "../../src/cli/serve/service.js";
import { until } from "./rig.js";

export const bookworm = "models/bookworm-7m";

/** LORIKEET_TEST_DEVICE=webgpu runs these tests on a card, or on a software driver. */
const testDevice = { device: process.env.LORIKEET_TEST_DEVICE ?? "cpu", allowSoftwareGpu: "true" };

export interface RunningService extends Service {
  /** `http://127.0.0.1:<port>` */
  readonly url: string;
  /** Every slot is free and nothing is held: by the engine's own proof and by the counts of the cache. */
  assertIdle(): Promise<void>;
}

/** Flags of `serve` by their names in the table of options. Default: fp32, one thread, 64 tokens of context, no adapters of the model's own. */
export async function openService(
  flags: Readonly<Record<string, string | readonly string[]>>,
  logger: Logger = silent,
): Promise<RunningService> {
  const usual = { dtype: "fp32", threads: "1", maxContext: "64", port: "0", noModelAdapters: "true" };
  const given = { ...testDevice, ...usual, ...flags };
  const settings = resolveSettings(serveOptions, { flags: given, environment: {}, file: {} });
  const service = await open(settings, basesOfModels(settings), logger, () => {});
  const port = service.open();
  return { ...service, url: `http://127.0.0.1:${port}`, assertIdle: () => assertIdle(service) };
}

async function assertIdle({ stacks }: Service): Promise<void> {
  for (const stack of stacks) await assertStackIdle(stack);
}

async function assertStackIdle(stack: BaseStack): Promise<void> {
  const { engine } = stack.started;
  const isIdle = (): boolean => {
    const { engine: counts, cache } = stack.gateway.stats();
    return counts.running + counts.waiting + cache.leased === 0 && counts.slots.idle === engine.limits.maxBatch;
  };
  await until(isIdle, "an idle engine");
  engine.check();
  assert.ok(stack.gateway.adapters.list().every(({ activity }) => activity.waiting + activity.running === 0));
}

/** Waits until the store has so many versions on its disk: those that lost their names go when their last reader has gone. */
export async function untilVersions({ stack }: Service, count: number): Promise<void> {
  const end = performance.now() + 30_000;
  for (;;) {
    const found = (await stack.adapters?.store.usage())?.versions;
    if (found === count) return;
    assert.ok(performance.now() < end, `the store keeps ${found} versions, not ${count}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** A folder of adapters of the test's own: copies of these PEFT folders, by name. */
export async function adaptersFolder(
  sources: Readonly<Record<string, string>>,
): Promise<AsyncDisposable & { path: string }> {
  const path = await mkdtemp(join(tmpdir(), "lorikeet-service-"));
  for (const [name, source] of Object.entries(sources)) await cp(source, join(path, name), { recursive: true });
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}
