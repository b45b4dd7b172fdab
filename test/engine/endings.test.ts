/** Every way a sequence can end, in every phase: what it held is free within one step, and no other sequence is affected. */
import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { test } from "node:test";
import { deferred } from "../../src/base/async.js";
import { LorikeetError } from "../../src/base/errors.js";
import { placeBytes } from "../../src/engine/adapters/bank-class.js";
import type { SequenceHandle } from "../../src/engine/types.js";
import { type EngineRig, engineRig, expectedTokens, groups, read, settle, until } from "../support/engine-rig.js";

const ids = (seed: number, length: number): number[] => Array.from({ length }, (_, i) => (seed * 31 + i * 7) % 61);
const decodes = (rig: EngineRig): number => rig.runner.calls.filter(({ kind }) => kind === "decode").length;

/** Puts a sequence with an adapter into a phase, beside a base sequence that must not notice. */
const phases: Record<string, (rig: EngineRig) => Promise<SequenceHandle>> = {
  waiting: async (rig) => {
    void read(rig.submit({ promptIds: ids(7, 3), maxTokens: 30 })); // the second and last slot
    await settle();
    const sequence = rig.submit({ promptIds: ids(1, 3), adapter: "a" });
    await settle();
    assert.deepEqual([rig.engine.stats().waiting, rig.source.asked.length], [1, 0]);
    return sequence;
  },
  loading: async (rig) => {
    rig.source.hold("a");
    const sequence = rig.submit({ promptIds: ids(1, 3), adapter: "a" });
    await until(() => rig.source.asked.includes("a"), "the adapter is asked for");
    assert.deepEqual(rig.engine.stats().waitingAdapters, ["a"]);
    return sequence;
  },
  prefilling: async (rig) => {
    const sequence = rig.submit({ promptIds: ids(1, 80), adapter: "a" });
    await until(() => rig.engine.stats().slots.prefilling === 1, "it prefills");
    return sequence;
  },
  decoding: async (rig) => {
    const sequence = rig.submit({ promptIds: ids(1, 3), maxTokens: 90, adapter: "a" });
    await until(() => rig.engine.stats().runningAdapters.includes("a") && decodes(rig) > 6, "it decodes");
    return sequence;
  },
  paused: async (rig) => {
    const sequence = rig.submit({ promptIds: ids(1, 3), maxTokens: 90, adapter: "a" });
    sequence.pause();
    await until(() => rig.engine.stats().runningAdapters.includes("a"), "it is admitted");
    return sequence;
  },
};

const endings: Record<string, (sequence: SequenceHandle, abort: AbortController) => Promise<unknown>> = {
  "it is cancelled": async (sequence) => sequence.end("cancelled"),
  "its signal aborts": async (_, abort) => abort.abort(),
  "it is told to stop": async (sequence) => sequence.end("stop"),
};

for (const [phase, enter] of Object.entries(phases)) {
  for (const [how, end] of Object.entries(endings)) {
    test(`${phase}: ${how}; slot, hold and lease are free within one step`, async () => {
      const abort = new AbortController();
      await using rig = engineRig({ maxBatch: 2, maxContext: 200, prefillRate: 34 });
      const plain = rig.submit.bind(rig);
      const withSignal: EngineRig = { ...rig, submit: (request) => plain({ ...request, signal: abort.signal }) };
      rig.source.add("a", 9);
      const bystander = read(rig.submit({ promptIds: ids(2, 4), maxTokens: 60 }));
      await until(() => decodes(rig) > 2, "the other decodes");
      const sequence = await enter({
        ...withSignal,
        submit: (request) => (request.adapter ? withSignal : rig).submit(request),
      });
      const before = decodes(rig);
      await end(sequence, abort);
      await until(() => rig.bank.holds + rig.source.leases === 0 && rig.engine.stats().waiting === 0, "all is free");
      assert.ok(decodes(rig) - before <= 2, "within a step");
      const { finish } = await read(sequence);
      assert.equal(finish.reason, how === "it is told to stop" ? "stop" : "cancelled");
      rig.source.holding.get("a")?.resolve();
      assert.deepEqual((await bystander).tokens, expectedTokens(ids(2, 4), 60));
      sequence.end("cancelled");
      sequence.resume();
      await until(() => rig.engine.stats().running === 0, "the rest is done");
    });
  }
}

test("an aborted signal ends the request before it starts; a signal that outlives it is released", async () => {
  await using rig = engineRig();
  const { finish } = await read(rig.submit({ promptIds: [1], signal: AbortSignal.abort() }));
  assert.deepEqual([finish.reason, rig.runner.calls.length], ["cancelled", 0]);
  const { signal } = new AbortController();
  await read(rig.submit({ promptIds: [1], signal }));
  assert.equal(getEventListeners(signal, "abort").length, 0);
  await using full = engineRig({ maxBatch: 1, maxQueue: 0 });
  const running = full.submit({ promptIds: [1], maxTokens: 50 });
  assert.throws(() => full.submit({ promptIds: [1], signal }), { code: "queue_full" });
  assert.throws(() => full.submit({ promptIds: [], signal }), { code: "invalid_value" });
  assert.equal(getEventListeners(signal, "abort").length, 0, "a request that is refused leaves none");
  running.end("cancelled");
});

test("a reader that stops reading cancels the request", async () => {
  await using rig = engineRig();
  rig.source.add("a", 3);
  for await (const { type } of rig.submit({ promptIds: ids(1, 3), maxTokens: 100, adapter: "a" })) {
    if (type === "token") break;
  }
  await until(() => rig.engine.stats().running === 0, "it is gone");
  rig.assertEmpty();
});

test("a decode step that fails ends the rows that it ran, with the error, and only those", async () => {
  await using rig = engineRig({ maxBatch: 3, prefillRate: 34 });
  rig.source.add("a", 3);
  const fault = new LorikeetError("runtime_failed", "The kernel failed.");
  const running = [
    read(rig.submit({ promptIds: ids(1, 3), maxTokens: 90 })),
    read(rig.submit({ promptIds: ids(2, 3), maxTokens: 90, adapter: "a" })),
  ];
  await until(() => decodes(rig) > 3, "both decode");
  const prefilling = read(rig.submit({ promptIds: ids(3, 60), maxTokens: 5 }));
  await until(() => rig.engine.stats().slots.prefilling === 1, "a third prefills");
  let isSpent = false;
  rig.runner.before = ({ kind }) => {
    if (kind !== "decode" || isSpent) return;
    isSpent = true;
    throw fault;
  };
  for (const outcome of await Promise.all(running)) {
    assert.equal(outcome.finish.reason, "error");
    assert.equal(outcome.finish.error, fault);
  }
  assert.deepEqual((await prefilling).tokens, expectedTokens(ids(3, 60), 5));
});

test("a prefill that fails ends that sequence alone", async () => {
  await using rig = engineRig();
  rig.runner.before = (call) => {
    if (call.kind === "prefill" && call.start > 0) throw new Error("no memory");
  };
  const [short, long] = await Promise.all([
    read(rig.submit({ promptIds: ids(1, 4), maxTokens: 30 })),
    read(rig.submit({ promptIds: ids(2, 40) })),
  ]);
  assert.deepEqual(short.tokens, expectedTokens(ids(1, 4), 30));
  assert.match(String(long.finish.error), /no memory/);
});

for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
  test(`a row whose logits are ${value} ends alone: its neighbours go on`, async () => {
    await using rig = engineRig();
    rig.source.add("bad", 4);
    rig.runner.spoil = (_, adapter) => (adapter === "bad" ? value : null);
    const [good, bad] = await Promise.all([
      read(rig.submit({ promptIds: ids(1, 4), maxTokens: 30 })),
      read(rig.submit({ promptIds: ids(2, 4), maxTokens: 30, adapter: "bad", adapterName: "Bad One" })),
    ]);
    assert.deepEqual(good.tokens, expectedTokens(ids(1, 4), 30));
    assert.deepEqual([bad.finish.reason, bad.tokens.length], ["error", 1]);
    const { code, message, status } = bad.finish.error as LorikeetError;
    assert.deepEqual([code, status], ["adapter_invalid", 422]);
    assert.ok(message.startsWith(`With the adapter "Bad One" the model computed ${value} in place of logits`), message);
    rig.runner.spoil = () => value;
    const base = await read(rig.submit({ promptIds: ids(1, 4), maxTokens: 30 }));
    assert.equal((base.finish.error as LorikeetError).code, "runtime_failed");
  });
}

test("an adapter that cannot be loaded is an error of its request alone, with the loader's code", async () => {
  await using rig = engineRig({ maxBatch: 1, bank: { maxBytes: placeBytes(groups, 16) } });
  rig.source.add("large", 2, 17);
  const missing = await read(rig.submit({ promptIds: [1], adapter: "missing" }));
  assert.equal((missing.finish.error as LorikeetError).code, "adapter_not_found");
  assert.deepEqual(
    missing.events.map(({ type }) => type),
    ["finish"],
    "it was never admitted",
  );
  const large = await read(rig.submit({ promptIds: [1], adapter: "large" }));
  assert.equal((large.finish.error as LorikeetError).code, "adapter_too_large");
  const gate = rig.source.hold("torn");
  const torn = read(rig.submit({ promptIds: [1], adapter: "torn" }));
  await until(() => rig.source.asked.includes("torn"), "it loads");
  gate.reject(new LorikeetError("adapter_invalid", "The file is torn."));
  assert.equal(((await torn).finish.error as LorikeetError).code, "adapter_invalid");
  assert.equal((await read(rig.submit({ promptIds: [1] }))).finish.reason, "length");
});

test("an engine without adapters refuses a request for one", async () => {
  await using rig = engineRig({ parts: { adapters: null } });
  const { finish } = await read(rig.submit({ promptIds: [1], adapter: "a" }));
  assert.equal((finish.error as LorikeetError).code, "adapter_not_found");
});

test("a slow disk delays only requests that wait for it", async () => {
  await using rig = engineRig({ maxBatch: 3 });
  rig.source.add("slow", 1);
  rig.source.add("fast", 2);
  const gate = rig.source.hold("slow");
  const slow = read(rig.submit({ promptIds: ids(1, 3), adapter: "slow" }));
  const fast = await read(rig.submit({ promptIds: ids(2, 3), adapter: "fast" }));
  assert.deepEqual(fast.tokens, expectedTokens(ids(2, 3), 8, 2));
  gate.resolve();
  assert.deepEqual((await slow).tokens, expectedTokens(ids(1, 3), 8, 1));
  assert.deepEqual(rig.source.prefetched, ["slow", "fast"], "both were prefetched when they were queued");
});

test("more distinct adapters than the active set holds: all answer, each in order, and none is passed too often", async () => {
  await using rig = engineRig({ maxBatch: 6, bank: { maxBytes: placeBytes(groups, 8) * 2 } });
  for (let i = 0; i < 12; i++) rig.source.add(`a${i}`, i + 1);
  const admitted: number[] = [];
  const outcomes = await Promise.all(
    Array.from({ length: 24 }, (_, i) =>
      read(rig.submit({ promptIds: ids(i, 4), maxTokens: 5, adapter: `a${i % 12}` }), ({ type }) => {
        if (type === "admitted") admitted.push(i);
        assert.ok(rig.bank.bytes <= placeBytes(groups, 8) * 2, "the bound on bytes holds");
      }),
    ),
  );
  for (const [i, { tokens }] of outcomes.entries())
    assert.deepEqual(tokens, expectedTokens(ids(i, 4), 5, (i % 12) + 1));
  for (let i = 0; i < 12; i++) {
    const [first, second] = [admitted.indexOf(i), admitted.indexOf(i + 12)];
    assert.ok(first < second, `the requests of a${i} are in order: ${admitted}`);
    const passers = admitted.slice(0, first).filter((other) => other % 12 > i);
    assert.ok(passers.length <= 6 + 2, `a${i} is passed by ${passers}`);
  }
});

test("a large adapter gets its turn, however many small ones keep coming", async () => {
  const room = placeBytes(groups, 64);
  await using rig = engineRig({ maxBatch: 4, bank: { maxBytes: room } });
  rig.source.add("large", 99, 64);
  for (let i = 0; i < 40; i++) rig.source.add(`small${i}`, i + 1, 8);
  let isDone = false;
  let next = 0;
  const stream = async (): Promise<void> => {
    while (!isDone && next < 40) {
      const i = next++;
      await read(rig.submit({ promptIds: ids(i, 3), maxTokens: 3, adapter: `small${i}` }));
    }
  };
  const streams = [stream(), stream(), stream()];
  await settle();
  const large = await read(rig.submit({ promptIds: ids(50, 3), adapter: "large" }));
  isDone = true;
  assert.deepEqual(large.tokens, expectedTokens(ids(50, 3), 8, 99));
  assert.ok(next < 25, `${next} small ones had gone first`);
  await Promise.all(streams);
});

test("an adapter without room in the bank delays no other, and is not passed over for ever", async () => {
  await using rig = engineRig({ maxBatch: 3, maxContext: 400, bank: { maxBytes: placeBytes(groups, 16) } });
  rig.source.add("one", 1, 8);
  rig.source.add("large", 2, 16);
  const one = rig.submit({ promptIds: ids(1, 3), maxTokens: 390, adapter: "one" });
  const first = read(one);
  await until(() => rig.bank.holds === 1, "the first runs");
  const large = read(rig.submit({ promptIds: ids(2, 3), adapter: "large" }));
  await settle();
  assert.deepEqual([rig.engine.stats().waiting, rig.engine.stats().slots.idle], [1, 2], "it claims no slot");
  for (let i = 0; i < 3; i++) {
    const beside = await read(rig.submit({ promptIds: ids(3 + i, 3), maxTokens: 2, adapter: "one" }));
    assert.deepEqual(beside.tokens, expectedTokens(ids(3 + i, 3), 2, 1), "others go past it");
  }
  const kept = read(rig.submit({ promptIds: ids(7, 3), maxTokens: 2, adapter: "one" }));
  await settle();
  assert.deepEqual(rig.engine.stats().queues, [{ adapter: "one", waiting: 1 }], "as often as there are slots, no more");
  const base = await read(rig.submit({ promptIds: ids(8, 3), maxTokens: 2 }));
  assert.deepEqual(base.tokens, expectedTokens(ids(8, 3), 2), "the base needs no room in the bank");
  one.end("cancelled");
  await first;
  assert.deepEqual((await large).tokens, expectedTokens(ids(2, 3), 8, 2));
  assert.deepEqual((await kept).tokens, expectedTokens(ids(7, 3), 2, 1));
});

test("a request that leaves the queue for the bank lets the next one through", async () => {
  await using rig = engineRig({ maxBatch: 3, bank: { maxBytes: placeBytes(groups, 16) } });
  rig.source.add("one", 1, 16);
  rig.source.add("large", 2, 16);
  rig.source.add("two", 3, 8);
  const one = rig.submit({ promptIds: ids(1, 3), maxTokens: 100, adapter: "one" });
  const first = read(one);
  await until(() => rig.bank.holds === 1, "the first runs");
  const large = rig.submit({ promptIds: ids(2, 3), adapter: "large" });
  const waits = read(large);
  const two = read(rig.submit({ promptIds: ids(3, 3), maxTokens: 2, adapter: "two" }));
  await settle();
  assert.equal(rig.engine.stats().waiting, 2, "neither has room beside the first");
  large.end("cancelled");
  assert.equal((await waits).finish.reason, "cancelled");
  one.end("cancelled");
  await first;
  assert.deepEqual((await two).tokens, expectedTokens(ids(3, 3), 2, 3));
});

test("drain refuses new requests, lets running and waiting ones finish, then frees everything", async () => {
  await using rig = engineRig({ maxBatch: 1, parts: {} });
  const running = [
    read(rig.submit({ promptIds: ids(1, 3), maxTokens: 20 })),
    read(rig.submit({ promptIds: ids(2, 3), maxTokens: 5 })),
  ];
  const drained = rig.engine.drain(10_000);
  assert.throws(() => rig.submit({ promptIds: [1] }), { code: "draining", status: 503 });
  await drained;
  const reasons = (await Promise.all(running)).map(({ finish }) => finish.reason);
  assert.deepEqual(reasons, ["length", "length"]);
});

test("after drain's grace, running, loading and waiting requests end with `shutdown`; the runner is disposed once", async () => {
  let disposed = 0;
  await using rig = engineRig({ maxBatch: 2, maxContext: 400, parts: { dispose: async () => void disposed++ } });
  rig.source.add("a", 1);
  const gate = rig.source.hold("a");
  const slow = rig.submit({ promptIds: ids(1, 3), maxTokens: 300 });
  slow.pause();
  const second = rig.submit({ promptIds: ids(4, 3), maxTokens: 300 });
  second.pause();
  const all = [
    slow,
    second,
    rig.submit({ promptIds: ids(2, 3), adapter: "a" }),
    rig.submit({ promptIds: ids(3, 3) }),
  ].map((s) => read(s));
  await settle();
  await rig.engine.drain(20);
  assert.deepEqual(
    (await Promise.all(all)).map(({ finish }) => finish.reason),
    ["shutdown", "shutdown", "shutdown", "shutdown"],
  );
  gate.resolve();
  await settle();
  rig.assertEmpty();
  await rig.engine.close();
  await rig.engine.drain(1);
  assert.equal(disposed, 1);
  assert.throws(() => rig.submit({ promptIds: [1] }), { code: "draining" });
});

test("a hanging step does not keep the engine from closing: all requests end, and its resources are disposed after it", async () => {
  let disposed = 0;
  const lines: string[] = [];
  const note = (level: string) => (_: object, message: string) => void lines.push(`${level}: ${message}`);
  const logger = { debug: note("debug"), info: note("info"), warn: note("warn"), error: note("error") };
  for (const kind of ["decode", "prefill"]) {
    await using rig = engineRig({ maxBatch: 2, parts: { dispose: async () => void disposed++, logger } });
    rig.source.add("a", 1);
    const step = deferred<void>();
    let isRunning = false;
    rig.runner.before = async (call) => {
      if (call.kind !== kind) return;
      isRunning = true;
      await step.promise;
    };
    const all = [3, 4, 5].map((length) => read(rig.submit({ promptIds: ids(length, length), adapter: "a" })));
    await until(() => isRunning, "the step runs");
    await rig.engine.close(5);
    for (const outcome of await Promise.all(all)) assert.equal(outcome.finish.reason, "shutdown");
    rig.assertEmpty();
    const before = disposed;
    step.resolve();
    await rig.engine.close();
    assert.equal(disposed, before + 1);
  }
  assert.deepEqual(
    lines.map((line) => line.split(":")[0]),
    ["warn", "warn"],
  );
});
