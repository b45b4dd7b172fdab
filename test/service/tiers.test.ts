/** The running server with less memory than its adapters need, and with folders that an operator adds, changes and removes. */
import assert from "node:assert/strict";
import { cp, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { complete, only, post, scrape, stream, tokensOf } from "../support/client.js";
import { oracleRoot } from "../support/oracle.js";
import { writeRandomAdapters } from "../support/random-adapters.js";
import { until } from "../support/rig.js";
import { adaptersFolder, openService, type RunningService } from "../support/service.js";

const model = join(oracleRoot, "llama");
const flags = { model, servedModelName: "base", maxContext: "256" };
const greedy = { prompt: [5, 6, 7, 8], temperature: 0, ignore_eos: true, return_token_ids: true };
const requestOf = (name: string, length: number): object => ({ ...greedy, model: name, max_tokens: length });

async function alone({ url }: RunningService, name: string, length = 20): Promise<readonly number[] | undefined> {
  return only(await complete(url, requestOf(name, length))).token_ids;
}

test("sixteen adapters with memory for four: each answers as it does alone, and every bound holds", async () => {
  await using folder = await adaptersFolder({});
  const names = Array.from({ length: 16 }, (_, i) => `lora-${i}`);
  await writeRandomAdapters(
    folder.path,
    model,
    Object.fromEntries(names.map((name, seed) => [name, { rank: 8, seed }])),
  );
  const bytes = { adapterCacheBytes: "450000", activeAdapterBytes: "450000" };
  await using service = await openService({ ...flags, ...bytes, adapters: folder.path, maxBatch: "8" });
  const { url, stack } = service;
  const sizes = stack.gateway.adapters.list().map((adapter) => adapter.activeBytes);
  assert.ok(
    sizes.every((size) => 4 * size <= 450_000 && 5 * size > 450_000),
    `four of ${sizes[0]} bytes fit`,
  );
  const expected = new Map<string, readonly number[] | undefined>();
  for (const name of names) expected.set(name, await alone(service, name));
  assert.equal(new Set([...expected.values()].map(String)).size, names.length);

  const passed: string[] = [];
  const watching = setInterval(() => {
    const { cache, engine } = stack.gateway.stats();
    if (cache.bytes > cache.maxBytes) passed.push(`the cache has ${cache.bytes} bytes`);
    if (engine.activeAdapterBytes > 450_000) passed.push(`the active set has ${engine.activeAdapterBytes} bytes`);
  }, 1);
  try {
    const asking = names.flatMap((name) =>
      [20, 7, 13].map(async (length) => {
        assert.deepEqual(
          await tokensOf(stream(url, requestOf(name, length))),
          expected.get(name)?.slice(0, length),
          name,
        );
      }),
    );
    await Promise.all(asking);
  } finally {
    clearInterval(watching);
  }
  assert.deepEqual(passed, []);
  const samples = await scrape(url);
  assert.ok((samples.get("lorikeet_adapter_cache_evictions_total") ?? 0) >= 12);
  await service.assertIdle();
});

test("an operator's folder is served, reloaded when it changes and dropped when it is removed; streams keep their version", async () => {
  await using sources = await adaptersFolder({});
  await using folder = await adaptersFolder({});
  await writeRandomAdapters(sources.path, model, { one: { rank: 8, seed: 1 }, two: { rank: 4, seed: 2 } });
  await using service = await openService({ ...flags, adapters: folder.path, scanInterval: "50ms" });
  const { url, stack } = service;
  const digest = (): string | undefined => stack.adapters?.store.resolve("hand")?.digest;
  /** As careful people do it: beside, then renamed. */
  const place = async (version: string): Promise<void> => {
    const draft = join(folder.path, ".draft");
    await cp(join(sources.path, version), draft, { recursive: true });
    await rm(join(folder.path, "hand"), { recursive: true, force: true });
    await rename(draft, join(folder.path, "hand"));
  };

  assert.equal((await post(url, "/v1/completions", requestOf("hand", 1))).status, 404);
  await place("one");
  await until(() => digest() !== undefined, "the folder");
  const first = digest();
  const ones = await alone(service, "hand", 200);
  const streaming = tokensOf(stream(url, requestOf("hand", 200)));
  await place("two");
  await until(() => digest() !== undefined && digest() !== first, "the changed folder");
  const twos = await alone(service, "hand", 200);
  assert.deepEqual(await streaming, ones);
  const last = tokensOf(stream(url, requestOf("hand", 200)));
  await until(() => stack.gateway.stats().engine.running === 1, "the last stream");
  await rm(join(folder.path, "hand"), { recursive: true });
  await until(() => digest() === undefined, "the folder's end");
  assert.equal((await post(url, "/v1/completions", requestOf("hand", 1))).status, 404);
  assert.deepEqual(await last, twos);
  assert.equal(new Set([ones, twos, await alone(service, "base", 200)].map(String)).size, 3);
  await service.assertIdle();
});
