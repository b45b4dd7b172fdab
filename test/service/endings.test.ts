/** Clients that leave the running server, at every moment of a request: each releases its slot, its lease and its place in the queue. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { complete, frameTokens, only, post, put, remove, SocketClient, scrape, stream } from "../support/client.js";
import { writeRandomAdapters } from "../support/random-adapters.js";
import { until } from "../support/rig.js";
import { adaptersFolder, bookworm, openService, type RunningService, untilVersions } from "../support/service.js";

const length = 900;
const prompt = [17, 230, 45, 1200, 8];
const endless = { model: "mine", prompt, temperature: 0, max_tokens: length, ignore_eos: true, return_token_ids: true };

let service: RunningService;
let folder: Awaited<ReturnType<typeof adaptersFolder>>;
let begin: readonly number[];

before(async () => {
  folder = await adaptersFolder({});
  await using source = await adaptersFolder({});
  await writeRandomAdapters(source.path, bookworm, { mine: { rank: 8, seed: 3 } });
  service = await openService({ model: bookworm, adapters: folder.path, maxContext: "1024", maxBatch: "2" });
  await put(service.url, "mine", `${source.path}/mine`);
  begin = only(await complete(service.url, { ...endless, max_tokens: 6 })).token_ids ?? [];
  assert.equal(begin.length, 6);
});
after(async () => {
  await service[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

const counts = () => service.stack.gateway.stats();
const running = (): number => counts().engine.running;

/** Everything is given back, `left` requests more are booked as cancelled, and the next request is as good as the first. */
async function assertGivenBack(left: number, leave: () => Promise<void>): Promise<void> {
  const cancelled = 'lorikeet_requests_total{adapter="mine",route="completions",outcome="cancelled"}';
  const before = (await scrape(service.url)).get(cancelled) ?? 0;
  await leave();
  await service.assertIdle();
  let samples = await scrape(service.url);
  while (samples.get("lorikeet_ws_connections") !== 0) samples = await scrape(service.url);
  assert.equal((samples.get(cancelled) ?? 0) - before, left, "requests were cancelled");
  assert.equal(samples.get('lorikeet_kv_slots{state="idle"}'), 2);
  assert.equal(samples.get("vllm:num_requests_running"), 0);
  assert.equal(samples.get("vllm:num_requests_waiting"), 0);
  assert.deepEqual(only(await complete(service.url, { ...endless, max_tokens: 6 })).token_ids, begin);
}

test("a streaming client that disconnects after a few tokens", async () => {
  await assertGivenBack(1, async () => {
    let received = 0;
    for await (const { choices } of stream(service.url, endless)) {
      received += choices.flatMap(({ token_ids }) => token_ids ?? []).length;
      assert.equal(running(), 1);
      if (received >= 3) break;
    }
  });
});

test("a client that disconnects while it waits for a complete answer", async () => {
  await assertGivenBack(1, async () => {
    const leaving = new AbortController();
    const asking = post(service.url, "/v1/completions", endless, leaving.signal);
    await until(() => counts().engine.slots.decoding === 1, "the answer's beginning");
    leaving.abort();
    await assert.rejects(asking, { name: "AbortError" });
  });
});

test("a client that disconnects while its prompt is scored", async () => {
  await assertGivenBack(1, async () => {
    const leaving = new AbortController();
    const long = Array.from({ length: 1000 }, (_, i) => 5 + ((i * 7919) % 4000));
    const score = { ...endless, prompt: long, max_tokens: 0, echo: true, logprobs: 1 };
    const asking = post(service.url, "/v1/completions", score, leaving.signal);
    await until(() => counts().engine.slots.prefilling === 1, "the prompt's beginning");
    leaving.abort();
    await assert.rejects(asking, { name: "AbortError" });
  });
});

test("a socket that closes with running requests and a waiting one", async () => {
  await assertGivenBack(3, async () => {
    using socket = await SocketClient.open(service.url);
    for (const id of ["a", "b", "c"]) void socket.ask(id, endless);
    await until(() => running() === 2 && counts().engine.waiting === 1, "two that run and one that waits");
  });
});

test("a request cancelled on a socket makes room for the waiting one, and the others continue", async () => {
  await assertGivenBack(1, async () => {
    using socket = await SocketClient.open(service.url);
    const first = socket.ask("first", endless);
    const neighbour = socket.ask("neighbour", { ...endless, max_tokens: 60 });
    await until(() => running() === 2, "two that run");
    const waiting = socket.ask("waiting", { ...endless, max_tokens: 6 });
    await until(() => counts().engine.waiting === 1, "one that waits");
    socket.cancel("first");
    assert.equal((await first).at(-1)?.error?.code, "cancelled");
    assert.deepEqual(frameTokens(await waiting), begin);
    assert.equal(frameTokens(await neighbour).length, 60);
  });
});

test("a client that disconnects while it waits in the queue", async () => {
  await assertGivenBack(3, async () => {
    using socket = await SocketClient.open(service.url);
    for (const id of ["a", "b"]) void socket.ask(id, endless);
    await until(() => running() === 2, "two that run");
    const leaving = new AbortController();
    const asking = post(service.url, "/v1/completions", { ...endless, stream: true }, leaving.signal);
    await until(() => counts().engine.waiting === 1, "one that waits");
    leaving.abort();
    await assert.rejects(asking, { name: "AbortError" });
    await until(() => counts().engine.waiting === 0, "nobody that waits");
    assert.equal(running(), 2);
  });
});

test("an adapter that is deleted while a client streams it goes from memory and disk as soon as the client leaves", async () => {
  for await (const _chunk of stream(service.url, endless)) {
    await remove(service.url, "mine");
    await untilVersions(service, 1);
    assert.equal(counts().cache.leased, 1);
    break;
  }
  await service.assertIdle();
  await untilVersions(service, 0);
  await until(() => counts().cache.bytes === 0, "an empty cache");
});
