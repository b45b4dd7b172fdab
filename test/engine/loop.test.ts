/** The step loop's contract over a fake runner: which sequences run, in which order, and that none touches another's state. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { deferred } from "../../src/base/async.js";
import type { LorikeetError } from "../../src/base/errors.js";
import { engineRig, expectedTokens, read, sampled, settle, until } from "../support/engine-rig.js";

const ids = (seed: number, length: number): number[] => Array.from({ length }, (_, i) => (seed * 31 + i * 7) % 61);

test("a request's events: admitted, its tokens, one finish", async () => {
  await using rig = engineRig();
  const { events, tokens, finish } = await read(rig.submit({ promptIds: ids(1, 5), maxTokens: 4 }));
  assert.deepEqual(
    events.map(({ type }) => type),
    ["admitted", "token", "token", "token", "token", "finish"],
  );
  assert.deepEqual(tokens, expectedTokens(ids(1, 5), 4));
  const { reason, promptTokens, completionTokens, stopId, error, timings } = finish;
  assert.deepEqual(
    { reason, promptTokens, completionTokens, stopId, error },
    {
      reason: "length",
      promptTokens: 5,
      completionTokens: 4,
      stopId: null,
      error: null,
    },
  );
  assert.ok(timings.timeToFirstTokenMs !== null && timings.timeToFirstTokenMs >= timings.queueMs);
});

test("a stop id ends a sequence and is not emitted; it counts as generated", async () => {
  await using rig = engineRig();
  const expected = expectedTokens(ids(2, 4), 6);
  const stop = expected[3] ?? 0;
  const cut = expected.indexOf(stop);
  const { tokens, finish } = await read(rig.submit({ promptIds: ids(2, 4), maxTokens: 20, stopIds: [stop] }));
  assert.deepEqual(tokens, expected.slice(0, cut));
  assert.deepEqual([finish.reason, finish.stopId, finish.completionTokens], ["stop", stop, cut + 1]);
});

test("sequences of any length join and leave at any step, with and without adapters, and each answers as if alone", async () => {
  const request = fc.record({
    prompt: fc.integer({ min: 1, max: 40 }),
    tokens: fc.integer({ min: 0, max: 20 }),
    adapter: fc.integer({ min: 0, max: 6 }),
    delay: fc.integer({ min: 0, max: 12 }),
    cancelAfter: fc.option(fc.integer({ min: 0, max: 10 }), { freq: 4, nil: null }),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(request, { minLength: 1, maxLength: 24 }),
      fc.record({
        maxBatch: fc.integer({ min: 1, max: 7 }),
        evenRows: fc.boolean(),
        places: fc.integer({ min: 1, max: 8 }),
      }),
      async (requests, { maxBatch, evenRows, places }) => {
        // `places` adapters of rank 8 fit the bank by bytes: 40 elements a rank and place.
        const bank = { maxBytes: 8 * 4 * (3 * 2 + 4 + 2 + 4 + 3) * places * 2 };
        await using rig = engineRig({ maxBatch, evenRows, maxChunk: 8, prefillRate: 50, bank });
        for (let i = 1; i <= 6; i++) rig.source.add(`sha256:${i}`, i * 3, i % 3 === 0 ? 16 : 4);
        await Promise.all(
          requests.map(async ({ prompt, tokens, adapter, delay, cancelAfter }, i) => {
            for (let turns = 0; turns < delay; turns++) await new Promise((resolve) => setImmediate(resolve));
            const promptIds = ids(i, prompt);
            const digest = adapter === 0 ? null : `sha256:${adapter}`;
            const sequence = rig.submit({ promptIds, maxTokens: tokens, adapter: digest });
            let seen = 0;
            const outcome = await read(sequence, ({ type }) => {
              if (type === "token" && seen++ === cancelAfter) sequence.end("cancelled");
            });
            const expected = expectedTokens(promptIds, tokens, adapter * 3);
            assert.deepEqual(outcome.tokens, expected.slice(0, outcome.tokens.length));
            if (outcome.finish.reason === "length") assert.equal(outcome.tokens.length, tokens);
            else assert.equal(outcome.finish.reason, "cancelled");
          }),
        );
        rig.assertEmpty();
      },
    ),
    { numRuns: 60, seed: 11, includeErrorInReport: true },
  );
});

test("adapters take turns, the base as one of them, and each is served in order", async () => {
  await using rig = engineRig({ maxBatch: 2 });
  rig.source.add("a", 1);
  rig.source.add("other", 2);
  const order: string[] = [];
  const ask = (adapter: string | null, count: number) =>
    Array.from({ length: count }, async (_, i) => {
      await read(rig.submit({ promptIds: ids(i, 3), maxTokens: 3, adapter }), ({ type }) => {
        if (type === "admitted") order.push(`${adapter ?? "base"}${i}`);
      });
    });
  await Promise.all([...ask("a", 8), ...ask(null, 3), ...ask("other", 2)]);
  for (const name of ["a", "base", "other"]) {
    const own = order.filter((entry) => entry.startsWith(name));
    assert.deepEqual(
      own,
      own.map((_, i) => `${name}${i}`),
    );
  }
  assert.ok(order.indexOf("other1") < order.indexOf("a5") && order.indexOf("base2") < order.indexOf("a6"), `${order}`);
});

test("an adapter with 200 requests starts fewer than two batches before each of ten others starts", async () => {
  for (const maxBatch of [1, 2, 5, 16]) {
    await using rig = engineRig({ maxBatch, maxQueue: 300 });
    for (let i = 0; i <= 9; i++) rig.source.add(`a${i}`, i + 1);
    const order: string[] = [];
    const ask = (adapter: string | null, maxTokens: number) => {
      const sequence = rig.submit({ promptIds: ids(1, 3), maxTokens, adapter });
      return read(sequence, ({ type }) => {
        if (type === "admitted") order.push(adapter ?? "base");
      });
    };
    const all = Array.from({ length: 200 }, (_, i) => ask("a0", 30 + (i % 20)));
    await settle();
    for (let i = 1; i <= 9; i++) all.push(ask(`a${i}`, 12));
    all.push(ask(null, 12));
    await Promise.all(all);
    const others = order.filter((name) => name !== "a0");
    assert.equal(new Set(others).size, 10);
    const before = order.slice(0, order.lastIndexOf(others.at(-1) ?? "")).filter((name) => name === "a0").length;
    assert.ok(before < 2 * maxBatch, `${before} of the one with slots ${maxBatch}`);
  }
});

test("each adapter's queue is bounded; a full queue drops the newest of the longest for a shorter one", async () => {
  await using rig = engineRig({ maxBatch: 1, maxQueue: 6, maxAdapterQueue: 4 });
  rig.source.add("a", 1);
  rig.source.add("b", 2);
  const running = rig.submit({ promptIds: ids(0, 3), maxTokens: 100 });
  await settle();
  const own = Array.from({ length: 4 }, (_, i) => read(rig.submit({ promptIds: ids(i, 3), adapter: "a" })));
  const full = { code: "adapter_queue_full", status: 429, found: 4, allowed: 4, param: "model" };
  assert.throws(() => rig.submit({ promptIds: ids(4, 3), adapter: "a" }), full);
  const base = [0, 1].map((i) => read(rig.submit({ promptIds: ids(i, 3) })));
  assert.throws(() => rig.submit({ promptIds: ids(4, 3), adapter: "a" }), { code: "queue_full" });
  const late = read(rig.submit({ promptIds: ids(5, 3), adapter: "b" }));
  const newest = (await Promise.all(own.slice(3)))[0]?.finish.error;
  assert.equal((newest as LorikeetError | undefined)?.code, "queue_full", "the newest of the longest");
  assert.deepEqual(
    rig.engine
      .stats()
      .queues.map(({ adapter, waiting }) => `${adapter} ${waiting}`)
      .sort(),
    ["a 3", "b 1", "null 2"],
  );
  const { oldestWaitMs } = rig.engine.stats();
  assert.ok(oldestWaitMs > 0);
  assert.throws(() => rig.submit({ promptIds: ids(6, 3) }), { code: "queue_full" }, "three against two is no reason");
  running.end("cancelled");
  for (const outcome of [...own.slice(0, 3), ...base, late]) assert.equal((await outcome).finish.reason, "length");
  await read(running);
  assert.equal(rig.engine.stats().oldestWaitMs, 0);
});

test("a request that finds a free slot has its adapter in place while the step before it still runs", async () => {
  await using rig = engineRig({ maxBatch: 2 });
  const digest = rig.source.add("sha256:a", 5);
  const running = read(rig.submit({ promptIds: ids(1, 4), maxTokens: 6 }));
  const step = deferred<void>();
  await new Promise<void>((resolve) => {
    rig.runner.before = async ({ kind }) => {
      if (kind !== "decode") return;
      resolve();
      await step.promise;
    };
  });
  const outcome = read(rig.submit({ promptIds: ids(2, 4), maxTokens: 3, adapter: digest }), ({ type }) => {
    if (type === "admitted") step.resolve(); // nothing else lets the step go on
  });
  assert.deepEqual((await outcome).tokens, expectedTokens(ids(2, 4), 3, 5));
  assert.deepEqual((await running).tokens, expectedTokens(ids(1, 4), 6));
});

test("rows are a prefix of slots: the last moves into a hole, and keeps its keys and values", async () => {
  await using rig = engineRig({ maxBatch: 4 });
  const lengths = [10, 30, 30, 30];
  const outcomes = await Promise.all(
    lengths.map((maxTokens, i) => read(rig.submit({ promptIds: ids(i, 6 + i), maxTokens }))),
  );
  for (const [i, { tokens }] of outcomes.entries()) {
    assert.deepEqual(tokens, expectedTokens(ids(i, 6 + i), lengths[i] ?? 0));
  }
  const rows = rig.runner.calls.flatMap((call) => (call.kind === "decode" ? [call.rows] : []));
  assert.ok(rows.includes(4) && rows.slice(-15, -5).every((count) => count === 3), `rows of the steps: ${rows}`);
});

test("a step with an even number of rows pads with the next slot's row, which keeps what it holds while it prefills", async () => {
  await using rig = engineRig({ maxBatch: 2, evenRows: true, maxChunk: 8, prefillRate: 34 });
  const first = rig.submit({ promptIds: ids(1, 4), maxTokens: 40 });
  const running = read(first);
  await until(() => rig.runner.calls.some(({ kind }) => kind === "decode"), "the first decodes");
  // Its prompt takes ten chunks, between which the other decodes with this slot as its padding.
  const second = await read(rig.submit({ promptIds: ids(2, 40), maxTokens: 10 }));
  assert.deepEqual(second.tokens, expectedTokens(ids(2, 40), 10));
  assert.deepEqual((await running).tokens, expectedTokens(ids(1, 4), 40));
  const chunks = rig.runner.calls.filter(({ kind }) => kind === "prefill").length;
  assert.ok(chunks >= 10, `${chunks} chunks`);
  for (const call of rig.runner.calls) if (call.kind === "decode") assert.equal(call.rows % 2, 0);
});

test("an odd number of slots has a spare row to pad with", async () => {
  await using rig = engineRig({ maxBatch: 3, evenRows: true });
  const outcomes = await Promise.all([0, 1, 2].map((i) => read(rig.submit({ promptIds: ids(i, 5), maxTokens: 12 }))));
  for (const [i, { tokens }] of outcomes.entries()) assert.deepEqual(tokens, expectedTokens(ids(i, 5), 12));
  assert.ok(rig.runner.calls.some((call) => call.kind === "decode" && call.rows === 4));
});

test("a long prompt arrives in chunks between which others decode; alone it takes larger ones", async () => {
  await using rig = engineRig({ maxChunk: 32, prefillRate: 50 }); // 6 tokens in 120 ms
  const talking = read(rig.submit({ promptIds: ids(1, 2), maxTokens: 60 }));
  await until(() => rig.runner.calls.some(({ kind }) => kind === "decode"), "the first decodes");
  await read(rig.submit({ promptIds: ids(2, 36), maxTokens: 2 }));
  const chunks = rig.runner.calls.flatMap((call) => (call.kind === "prefill" ? [call.tokens] : []));
  assert.deepEqual(chunks, [2, 6, 6, 6, 6, 6, 6]);
  const kinds = rig.runner.calls.map(({ kind }) => kind).join(" ");
  assert.ok(!/prefill prefill (?!decode)/.test(kinds.slice(8)), "a decode step follows every chunk");
  await talking;
  await read(rig.submit({ promptIds: ids(3, 36), maxTokens: 1 }));
  assert.deepEqual(
    rig.runner.calls.slice(-2).map((call) => call.kind === "prefill" && call.tokens),
    [32, 4],
  );
});

test("the choices of one prompt are separate sequences: different seeds differ, equal seeds agree", async () => {
  await using rig = engineRig({ maxBatch: 3 });
  rig.runner.spoil = () => 1; // a flat distribution: everything is chance
  const run = (seed: number) => read(rig.submit({ promptIds: ids(1, 4), maxTokens: 12, sampling: sampled(seed) }));
  const [one, same, other] = await Promise.all([run(1), run(1), run(2)]);
  assert.deepEqual(one?.tokens, same?.tokens);
  assert.notDeepEqual(one?.tokens, other?.tokens);
  const greedyChoices = await Promise.all(
    [1, 2, 3].map(() => read(rig.submit({ promptIds: ids(5, 9), maxTokens: 1 }))),
  );
  for (const { tokens } of greedyChoices) assert.deepEqual(tokens, expectedTokens(ids(5, 9), 1));
});

test("prompt scoring: one entry a token, the first null, whatever the chunks; nothing is generated for 0 tokens", async () => {
  await using rig = engineRig({ maxChunk: 8 });
  const promptIds = ids(3, 21);
  const { events, tokens, finish } = await read(rig.submit({ promptIds, maxTokens: 0, promptLogprobs: 1 }));
  const prompt = events.find((event) => event.type === "prompt");
  assert.ok(prompt?.type === "prompt");
  assert.deepEqual(
    prompt.logprobs.map((entry) => entry?.id ?? null),
    [null, ...promptIds.slice(1)],
  );
  for (const [i, entry] of prompt.logprobs.entries()) {
    if (entry)
      assert.equal(entry.top[0]?.id, expectedTokens(promptIds.slice(0, i), 1)[0], `the best after ${i} tokens`);
  }
  assert.deepEqual([tokens.length, finish.reason], [0, "length"]);
});

test("a request that cannot run is refused on submission", async () => {
  await using rig = engineRig({ maxContext: 20 });
  const code = (expected: string) => ({ code: expected });
  assert.throws(() => rig.submit({ promptIds: [] }), code("invalid_value"));
  assert.throws(() => rig.submit({ promptIds: [1, 61] }), code("invalid_value"));
  assert.throws(() => rig.submit({ promptIds: [-1] }), code("invalid_value"));
  assert.throws(() => rig.submit({ promptIds: [1.5] }), code("invalid_value"));
  assert.throws(() => rig.submit({ promptIds: ids(1, 13), maxTokens: 8 }), {
    code: "context_length_exceeded",
    found: 21,
    allowed: 20,
  });
  const { tokens } = await read(rig.submit({ promptIds: ids(1, 12), maxTokens: 8 }));
  assert.deepEqual(tokens, expectedTokens(ids(1, 12), 8), "the whole context can be used");
});

test("the queue is bounded: also when all come in one turn, before any could get a slot", async () => {
  await using rig = engineRig({ maxBatch: 2, maxQueue: 3 });
  const accepted = Array.from({ length: 5 }, (_, i) => read(rig.submit({ promptIds: ids(i, 3) })));
  assert.throws(() => rig.submit({ promptIds: [1] }), { code: "queue_full", found: 3, allowed: 3 });
  await settle();
  await Promise.all(accepted);
  assert.equal((await read(rig.submit({ promptIds: [1] }))).finish.reason, "length");
});

test("a request submitted when another ends is not lost", async () => {
  await using rig = engineRig({ maxBatch: 1 });
  const first = rig.submit({ promptIds: ids(1, 3), maxTokens: 100 });
  first.pause();
  await settle();
  const chain = read(first).then(() => read(rig.submit({ promptIds: ids(2, 3), maxTokens: 2 })));
  first.end("cancelled");
  assert.equal((await chain).finish.reason, "length");
});

test("a paused sequence keeps its slot and lease, and resumes where it stopped", async () => {
  await using rig = engineRig();
  rig.source.add("a", 5);
  const sequence = rig.submit({ promptIds: ids(4, 4), maxTokens: 20, adapter: "a" });
  let count = 0;
  const outcome = read(sequence, ({ type }) => {
    if (type === "token" && ++count === 5) sequence.pause();
  });
  await until(() => count >= 5, "five tokens came");
  await settle();
  const seen = count;
  await settle();
  assert.ok(seen < 20 && count === seen, "no token comes while it is paused");
  assert.deepEqual([rig.engine.stats().running, rig.source.leases, rig.bank.holds], [1, 1, 1]);
  const other = await read(rig.submit({ promptIds: ids(9, 3), maxTokens: 6 }));
  assert.deepEqual(other.tokens, expectedTokens(ids(9, 3), 6));
  sequence.resume();
  assert.deepEqual((await outcome).tokens, expectedTokens(ids(4, 4), 20, 5));
});

test("a reader that stays behind gets no more than a bounded number of tokens, then all the rest", async () => {
  await using rig = engineRig({ maxContext: 700 });
  const sequence = rig.submit({ promptIds: ids(1, 3), maxTokens: 600 });
  await until(() => rig.runner.calls.length > 250, "it runs");
  await settle();
  const steps = rig.runner.calls.length;
  await settle();
  assert.equal(rig.runner.calls.length, steps, "the engine has stopped feeding it");
  assert.ok(steps < 270, `${steps} steps for a reader that reads nothing`);
  assert.deepEqual((await read(sequence)).tokens, expectedTokens(ids(1, 3), 600));
});
