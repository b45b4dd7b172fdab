/**
 * Many adapters in one batch of the running server: each answer is the one of the request alone, also while adapters are
 * uploaded, replaced and deleted, and none is ever the bare base's.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { type Completion, complete, only, post, put, remove, scrape, stream, tokensOf } from "../support/client.js";
import { oracleRoot } from "../support/oracle.js";
import { type RandomAdapter, writeRandomAdapters } from "../support/random-adapters.js";
import { until } from "../support/rig.js";
import { adaptersFolder, bookworm, openService, type RunningService, untilVersions } from "../support/service.js";

const clients = 16;
const tokens = 24;
const model = join(oracleRoot, "llama");
const flags = { model, servedModelName: "base", maxContext: "256", maxBatch: String(clients) };

const attention = ["q_proj", "k_proj", "v_proj", "o_proj"];
const feedForward = ["gate_proj", "up_proj", "down_proj"];

/** Sixteen of mixed ranks and targets, three of them DoRA. */
function sixteen(): Record<string, RandomAdapter> {
  const kinds = [
    { rank: 8 },
    { rank: 4, modules: attention },
    { rank: 16, modules: feedForward },
    { rank: 64 },
    { rank: 12, dora: true },
  ];
  const names = Array.from({ length: clients }, (_, i) => `lora-${i}`);
  return Object.fromEntries(names.map((name, i) => [name, { seed: i, ...(kinds[i % kinds.length] ?? { rank: 8 }) }]));
}

/** Half of them are greedy, half are sampled; every prompt has its own length. */
function requestOf(model: string, i: number): object {
  const prompt = Array.from({ length: 5 + 2 * i }, (_, j) => 3 + ((i * 971 + j * 7919) % 317));
  const sampling = i % 2 === 0 ? { temperature: 0 } : { temperature: 0.8, top_p: 0.95, seed: i };
  return { model, prompt, ...sampling, max_tokens: tokens, ignore_eos: true, return_token_ids: true };
}

async function alone({ url }: RunningService, model: string, i: number): Promise<readonly number[]> {
  const { token_ids = [] } = only(await complete(url, requestOf(model, i)));
  assert.equal(token_ids.length, tokens);
  return token_ids;
}

async function oneByOne(service: RunningService, models: readonly string[]): Promise<(readonly number[])[]> {
  const answers: (readonly number[])[] = [];
  for (const [i, model] of models.entries()) answers.push(await alone(service, model, i));
  return answers;
}

/** The median of distinct adapters in the decode steps between two scrapes, and how many steps those were. */
function medianAdapters(before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>) {
  const of = (series: string): number => (after.get(series) ?? 0) - (before.get(series) ?? 0);
  const steps = of("lorikeet_batch_adapters_count");
  const median = Array.from({ length: clients + 1 }, (_, le) => le).find(
    (le) => of(`lorikeet_batch_adapters_bucket{le="${le}"}`) >= steps / 2,
  );
  return { median, steps };
}

test("sixteen clients on sixteen adapters share steps, and each gets the answer that it gets alone", async () => {
  await using folder = await adaptersFolder({});
  await writeRandomAdapters(folder.path, model, sixteen());
  await using service = await openService({ ...flags, adapters: folder.path });
  const { url } = service;
  const models = Object.keys(sixteen());
  const expected = await oneByOne(service, models);
  const base = await oneByOne(
    service,
    models.map(() => "base"),
  );
  assert.equal(new Set([...expected, ...base].map(String)).size, 2 * clients, "every answer is another");

  // Streams that nobody lets end before both scrapes are done.
  const received = models.map((): number[] => []);
  let isCounted = false;
  const reading = models.map(async (model, i) => {
    for await (const { choices } of stream(url, { ...requestOf(model, i), max_tokens: 200 })) {
      received[i]?.push(...choices.flatMap(({ token_ids }) => token_ids ?? []));
      if (isCounted) return;
    }
  });
  const all = (count: number) => () => received.every(({ length }) => length >= count);
  await until(all(1), "a first token for everybody");
  const before = await scrape(url);
  await until(all(tokens), `${tokens} tokens for everybody`);
  const { median, steps } = medianAdapters(before, await scrape(url));
  isCounted = true;
  await Promise.all(reading);
  assert.deepEqual(
    received.map((ids) => ids.slice(0, tokens)),
    expected,
  );
  assert.ok(steps >= 5, `${steps} steps were counted`);
  assert.ok((median ?? 0) >= 14, `the median of lorikeet_batch_adapters is ${median}`);
  await service.assertIdle();

  // Requests of all lengths that come and go, beside some of the base: more than there are slots.
  const churn = [...models, "base", "base"].map(async (model, client) => {
    for (let round = 0; round < 3; round++) {
      const i = (client + 5 * round) % clients;
      const length = 1 + ((client * 7 + round * 11) % tokens);
      const whole = model === "base" ? base[i] : expected[models.indexOf(model)];
      const request = { ...requestOf(model, model === "base" ? i : client), max_tokens: length };
      assert.deepEqual(await tokensOf(stream(url, request)), whole?.slice(0, length), `${model}, ${length} tokens`);
    }
  });
  await Promise.all(churn);
  await service.assertIdle();
});

test("adapters uploaded, replaced and deleted under load: an answer is its version's, whole, or a 404, never the base's", async () => {
  await using sources = await adaptersFolder({});
  await using folder = await adaptersFolder({});
  const versions = ["one", "two", "three"];
  const kinds = versions.map((name, i) => [name, { rank: 8 << i, seed: 50 + i, dora: i === 1 }] as const);
  await writeRandomAdapters(sources.path, model, Object.fromEntries(kinds));
  await using service = await openService({ ...flags, adapters: folder.path });
  const { url } = service;
  const store = service.stack.adapters?.store;
  assert.ok(store);

  // What each version answers, by its digest.
  const answers = new Map<string, readonly number[]>();
  for (const version of versions) {
    const { digest } = await put(url, version, join(sources.path, version));
    answers.set(digest, await alone(service, version, 0));
    await remove(url, version);
  }
  answers.set("base", await alone(service, "base", 0));
  assert.equal(new Set([...answers.values()].map(String)).size, 4, "every answer is another");
  assert.equal((await store.usage()).versions, 0, "a deleted adapter is gone from the disk");

  let isOver = false;
  const seen = new Map<string, number>();
  const count = (what: string): void => void seen.set(what, (seen.get(what) ?? 0) + 1);
  const asking = async (client: number): Promise<void> => {
    while (!isOver) {
      const response = await post(url, "/v1/completions", { ...requestOf("swap", 0), stream: client % 2 === 0 });
      if (response.status === 404) {
        count("404");
        await response.text();
        await new Promise((resolve) => setTimeout(resolve, 5));
        continue;
      }
      assert.equal(response.status, 200);
      assert.equal(response.headers.get("x-adapter"), "swap");
      const digest = response.headers.get("x-adapter-digest") ?? "none";
      assert.deepEqual(await idsOf(response), answers.get(digest), `the answer of ${digest}`);
      count(digest);
    }
  };
  const changing = async (): Promise<void> => {
    const digests: string[] = [];
    for (let round = 0; round < 6; round++) {
      const version = versions[round % versions.length] ?? "";
      const { digest, outcome } = await put(url, "swap", join(sources.path, version));
      assert.equal(outcome, round % 4 === 0 ? "created" : "replaced");
      digests.push(digest);
      const wanted = (seen.get(digest) ?? 0) + 4;
      await until(() => isOver || (seen.get(digest) ?? 0) >= wanted, `answers of ${version}`);
      if (round % 4 !== 3) continue;
      await remove(url, "swap");
      const refused = (seen.get("404") ?? 0) + 4;
      await until(() => isOver || (seen.get("404") ?? 0) >= refused, "refusals");
    }
  };
  // The first that ends or fails ends all, and all have ended before anything is closed.
  const ending = async (job: Promise<void>): Promise<void> => job.finally(() => (isOver = true));
  const jobs = [changing(), ...Array.from({ length: 12 }, (_, client) => asking(client))];
  const ends = await Promise.allSettled(jobs.map(ending));
  for (const end of ends) if (end.status === "rejected") throw end.reason;
  assert.equal(seen.size, 4, `all three versions and refusals: ${[...seen.keys()]}`);
  await service.assertIdle();
  await untilVersions(service, 1); // what is replaced goes when nobody needs it any more
  for await (const { name, error } of store.verify()) assert.equal(error, null, name);
});

/** The new token ids of an answer, whole or streamed. */
async function idsOf(response: Response): Promise<number[]> {
  const text = await response.text();
  const parts = text.startsWith("data:") ? text.split("\n\n") : [text];
  const chunks = parts.map((part) => part.replace(/^data: /, "")).filter((part) => part.startsWith("{"));
  return chunks.flatMap((chunk) => {
    const { choices }: Completion = JSON.parse(chunk);
    return choices.flatMap(({ token_ids }) => token_ids ?? []);
  });
}

test("streams keep the version that they began with when the adapter is replaced or deleted", async () => {
  await using sources = await adaptersFolder({});
  await using folder = await adaptersFolder({});
  await writeRandomAdapters(sources.path, bookworm, { one: { rank: 8, seed: 1 }, two: { rank: 16, seed: 2 } });
  await using service = await openService({
    model: bookworm,
    adapters: folder.path,
    maxContext: "1024",
    maxBatch: "4",
  });
  const { url } = service;
  const [one, two] = [join(sources.path, "one"), join(sources.path, "two")];
  const request = (name: string, length: number): object => ({ ...requestOf(name, 0), max_tokens: length });

  // Much longer than all of this takes: whoever has seen enough leaves.
  let isOver = false;
  const read = async (into: number[]): Promise<void> => {
    for await (const { choices } of stream(url, request("swap", 1000))) {
      into.push(...choices.flatMap(({ token_ids }) => token_ids ?? []));
      if (isOver) return;
    }
  };
  const [early, late]: [number[], number[]] = [[], []];
  const grown = (by: number): Promise<void> => {
    const wanted = [early.length + by, late.length + by];
    return until(() => early.length >= (wanted[0] ?? 0) && late.length >= (wanted[1] ?? 0), "more tokens");
  };
  const first = await put(url, "swap", one);
  const reading = [read(early)];
  await until(() => early.length > 0, "the first stream's first token");
  const second = await put(url, "swap", two);
  assert.deepEqual([second.outcome, second.digest === first.digest], ["replaced", false]);
  reading.push(read(late));
  await until(() => late.length > 0, "the second stream's first token");
  await remove(url, "swap");
  assert.equal((await post(url, "/v1/completions", request("swap", 1))).status, 404);
  await grown(10);
  assert.ok(early.length < 1000 && late.length < 1000, "both streams were running all the while");
  isOver = true;
  await Promise.all(reading);
  await service.assertIdle();
  await untilVersions(service, 0);

  await put(url, "one", one);
  await put(url, "two", two);
  assert.deepEqual(early, only(await complete(url, request("one", early.length))).token_ids);
  assert.deepEqual(late, only(await complete(url, request("two", late.length))).token_ids);
});

test("uploading, using and deleting a copy of an operator's folder leaves the folder unchanged", async () => {
  await using folder = await adaptersFolder({});
  await writeRandomAdapters(folder.path, model, { mine: { rank: 8, seed: 1 } });
  await using service = await openService({ ...flags, adapters: folder.path });
  const { url } = service;
  await put(url, "copy", join(folder.path, "mine"));
  const answer = await alone(service, "copy", 0);
  await remove(url, "copy");
  await untilVersions(service, 0);
  assert.deepEqual(await alone(service, "mine", 0), answer);
  await service.assertIdle();
});
