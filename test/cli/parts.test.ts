/** The parts of the command: KV plan, banner, progress, tables, faults and signals. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { LorikeetError } from "../../src/base/errors.js";
import { planKvCache } from "../../src/cli/kv-plan.js";
import { resolveSettings } from "../../src/cli/options/settings.js";
import { progressLine, tickingLine } from "../../src/cli/progress.js";
import {
  addressOf,
  type BannerFacts,
  type DecoderFacts,
  formatBanner,
  type ServerFacts,
  type TaskFacts,
} from "../../src/cli/serve/banner.js";
import { type BaseKind, shareCard } from "../../src/cli/serve/card-share.js";
import { planMemory } from "../../src/cli/serve/memory-plan.js";
import { type BaseSettings, serveOptions } from "../../src/cli/serve/options.js";
import { listenForShutdown } from "../../src/cli/serve/shutdown.js";
import { formatTable } from "../../src/cli/table.js";
import type { Terminal } from "../../src/cli/terminal.js";
import { trainProgress } from "../../src/cli/train/report.js";
import { describeFault, exitCodeOf, UsageError } from "../../src/cli/usage.js";
import { cacheBytes, kvLayout } from "../../src/engine/kv-cache.js";
import { isLoopback } from "../../src/server/access/loopback.js";

const MiB = 1024 ** 2;
const shape = { kvBytesPerToken: 8192, stateBytesPerSlot: 0, maxPositions: 1024 };
const request = {
  maxBatch: 16,
  maxContext: null,
  neededContext: Number.POSITIVE_INFINITY,
  kvBytes: null,
  memoryBytes: 1024 * MiB,
  weightBytes: 24 * MiB,
};

test("the context defaults to the model's own if it fits", () => {
  assert.deepEqual(planKvCache(shape, request), { maxBatch: 16, maxContext: 1024, bytes: 129 * MiB });
});

test("slots are no larger than requests need, unless --max-context says so", () => {
  const long = { ...shape, maxPositions: 1_000_000 };
  const one = { ...request, maxBatch: 1, neededContext: 40 };
  assert.equal(planKvCache(long, one).maxContext, 40);
  assert.equal(planKvCache(long, { ...one, neededContext: 3 }).maxContext, 16);
  assert.equal(planKvCache(long, { ...one, maxContext: 512 }).maxContext, 512);
  assert.equal(planKvCache(shape, { ...one, neededContext: 5000 }).maxContext, 1024);
});

test("a context that was not asked for shrinks to what fits the budget", () => {
  assert.deepEqual(planKvCache(shape, { ...request, kvBytes: 64 * MiB }), {
    maxBatch: 16,
    maxContext: 504,
    bytes: 64 * MiB,
  });
  assert.equal(planKvCache(shape, { ...request, memoryBytes: 56 * MiB }).maxContext, 120);
});

test("the padding of slots and the states of layers without attention are part of what --kv-bytes bounds", () => {
  for (const stateBytesPerSlot of [0, 98_760]) {
    for (const maxBatch of [1, 3, 16]) {
      for (const kvBytes of [MiB, 5 * MiB + 1, 33 * MiB, 128 * MiB]) {
        const model = { ...shape, stateBytesPerSlot };
        const plan = planKvCache(model, { ...request, maxBatch, kvBytes: maxBatch * kvBytes });
        assert.ok(plan.bytes <= maxBatch * kvBytes, `${plan.bytes} of ${maxBatch * kvBytes}`);
        const layout = kvLayout(plan.maxBatch, plan.maxContext);
        // A layer of 8 KiB a token, and a state, as the engine allocates them.
        const states = [{ past: "past.0.window", present: "present.0.window", shape: [stateBytesPerSlot / 4] }];
        assert.equal(plan.bytes, cacheBytes({ ...layout, layers: [1], kvHeads: 1, headDim: 1024, states }));
      }
    }
  }
  assert.throws(
    () => planKvCache(shape, { ...request, maxContext: 1024, kvBytes: 128 * MiB }),
    /16 slots of 1024 tokens need 129 MiB for the KV cache, but --kv-bytes allows 128 MiB/,
  );
});

test("slots times context that do not fit are refused with every number", () => {
  assert.throws(
    () => planKvCache(shape, { ...request, maxContext: 1024, kvBytes: 64 * MiB }),
    (error: Error) =>
      error instanceof UsageError &&
      error.message ===
        "--max-batch 16 slots of 1024 tokens need 129 MiB for the KV cache, but --kv-bytes allows 64 MiB: lower --max-batch or --max-context, or raise --kv-bytes.",
  );
  assert.throws(() => planKvCache(shape, { ...request, kvBytes: MiB }), /16 slots of 16 tokens need 3 MiB/);
  assert.throws(() => planKvCache(shape, { ...request, memoryBytes: MiB }), /0 B is half of the memory/);
});

test("a context past the model's own is refused with both numbers", () => {
  assert.throws(() => planKvCache(shape, { ...request, maxContext: 2048 }), /2048 is more than the 1024 tokens/);
});

const decoder: DecoderFacts = {
  kind: "decoder",
  model: { name: "bookworm", directory: "models/bookworm", family: "llama", parameters: 7_344_384 },
  weights: { dtype: "fp32", headDtype: "fp32", why: "auto: up to 200 M parameters", residentBytes: 28 * MiB },
  device: {
    ...{
      kind: "cpu",
      name: null,
      driver: null,
      software: false,
      memoryBytes: null,
      fp16: null,
      longestChunk: null,
      kvCacheDtype: null,
      activationDtype: null,
    },
    why: "no graphics card was found",
  },
  threads: 2,
  slots: { count: 16, context: 1024, kvBytes: 128 * MiB },
  notes: ["The self-test found a difference."],
};
const server: ServerFacts = {
  ...{ version: "1.2.3", host: "127.0.0.1", port: 8080, keys: 0 },
  adapters: {
    folder: "adapters",
    found: ["plays"],
    brought: 0,
    refused: [{ name: "odd", reasons: ["no weights", "rank 0"] }],
  },
};
const facts: BannerFacts = { server, bases: [decoder], memory: null, poolThreads: 4 };
const bannerOf = (changed: Partial<ServerFacts>): string =>
  formatBanner({ ...facts, server: { ...server, ...changed } });

test("the banner shows the model, weights, slots, adapters found and refused, and the address's reach", () => {
  assert.equal(
    formatBanner(facts),
    `Lorikeet 1.2.3
model     bookworm (llama, 7.3 M parameters) from models/bookworm
weights   fp32, head fp32 (auto: up to 200 M parameters), 28 MiB resident
device    cpu, 2 threads (no graphics card was found)
slots     16 of 1,024 tokens, KV cache 128 MiB when full
adapters  1 found in adapters: plays
refused   odd: no weights; rank 0
note      The self-test found a difference.
address   http://127.0.0.1:8080 (listening on loopback only, without keys; use --host 0.0.0.0 to open it to the network)`,
  );
  assert.match(bannerOf({ host: "0.0.0.0" }), /open to the network, without keys/);
  assert.match(bannerOf({ host: "0.0.0.0", keys: 2 }), /open to the network, with 2 keys\)/);
  assert.match(bannerOf({ adapters: null }), /adapters {2}none/);
  const brought = { folder: "adapters", found: ["negative", "plays"], brought: 1, refused: [] };
  assert.match(
    bannerOf({ adapters: brought }),
    /^adapters {2}1 found in adapters and 1 with the models: negative, plays$/m,
  );
  const alone = { ...brought, folder: null, found: ["negative"] };
  assert.match(
    bannerOf({ adapters: alone }),
    /^adapters {2}1 found with the models \(.*--adapters <folder>\): negative$/m,
  );
});

test("the banner of several bases shows each, what they share, and whose a note is", () => {
  const policy: TaskFacts = {
    ...{ kind: "task", device: decoder.device, threads: 2, maxBatch: 16, notes: [] },
    model: {
      ...{ name: "policy", folder: "models/policy", task: "tensors", architecture: null, file: "model.onnx" },
      ...{ inputs: ["observation (float32 [batch, 4])"], outputs: ["logits (float32 [batch, 2])"] },
    },
  };
  const share = { kvBytes: 512 * MiB, cacheBytes: 256 * MiB, activeBytes: 128 * MiB };
  const memory = { memoryBytes: 4096 * MiB, weightBytes: 28 * MiB, shares: [share, { ...share, kvBytes: 0 }] };
  const banner = formatBanner({ server, bases: [decoder, policy], memory, poolThreads: 4 });
  assert.doesNotMatch(banner, /UV_THREADPOOL_SIZE/);
  assert.match(
    formatBanner({ server, bases: [decoder, policy], memory, poolThreads: 2 }),
    /2 pool threads, which also read files: start with UV_THREADPOOL_SIZE=6$/m,
  );
  assert.match(banner, /^model +bookworm .*\n(.*\n)*model +policy \(tensors\) from models\/policy, model\.onnx$/m);
  const planned =
    "28 MiB of weights, 128 MiB of KV caches, up to 512 MiB of cached and 256 MiB of active adapters, of 4 GiB";
  assert.ok(banner.includes(planned), banner);
  assert.match(banner, /^note +bookworm: The self-test found a difference\.$/m);
});

describe("memory of several bases", () => {
  const decoderNeed = { weightBytes: 100, kvBytes: null, cacheBytes: null, activeBytes: null };
  const taskNeed = { ...decoderNeed, kvBytes: 0 };
  const totals = { kvBytes: null, cacheBytes: 60, activeBytes: 1000 };
  const sumOf = ({ weightBytes, shares }: ReturnType<typeof planMemory>): number =>
    shares.reduce((sum, { kvBytes, cacheBytes, activeBytes }) => sum + kvBytes + cacheBytes + activeBytes, weightBytes);

  test("decoders share half of what the weights leave, all bases share the server's memory for adapters", () => {
    const plan = planMemory(700, [decoderNeed, decoderNeed, taskNeed], totals);
    const share = { kvBytes: 100, cacheBytes: 20, activeBytes: 33 };
    assert.deepEqual(plan.shares, [share, share, { ...share, kvBytes: 0 }]);
    assert.ok(sumOf(plan) <= 700);
  });

  test("a base's own sizes and --kv-bytes count against what the others share", () => {
    const own = { ...decoderNeed, kvBytes: 200, cacheBytes: 50 };
    const plan = planMemory(700, [own, decoderNeed], { ...totals, kvBytes: 120 });
    assert.deepEqual(
      plan.shares.map(({ kvBytes, cacheBytes }) => [kvBytes, cacheBytes]),
      [
        [200, 50],
        [120, 60],
      ],
    );
    assert.ok(sumOf(plan) <= 700);
  });

  test("what cannot fit is refused with both numbers", () => {
    assert.throws(() => planMemory(250, [decoderNeed, { ...decoderNeed, kvBytes: 100 }], totals), {
      code: "out_of_memory",
      message: /need 200 B for weights and 100 B as their options say, more than the 250 B/,
    });
  });
});

test("addresses", () => {
  assert.equal(addressOf("::1", 80), "http://[::1]:80");
  for (const host of [
    "127.0.0.1",
    "127.8.8.8",
    "localhost",
    "a.localhost",
    "::1",
    "0:0:0:0:0:0:0:1",
    "::ffff:127.0.0.1",
  ])
    assert.ok(isLoopback(host), host);
  for (const host of ["0.0.0.0", "::", "127.evil.example", "10.0.0.1", "::ffff:10.0.0.1", "xlocalhost"])
    assert.ok(!isLoopback(host), host);
});

/** A stream that keeps what it is given, beside a clock that the test moves. */
function recorder(isTTY: boolean) {
  const written: string[] = [];
  const clock = { time: 0 };
  const stream = { isTTY, columns: 40, write: (text: string) => written.push(text) };
  return { written, clock, line: progressLine(stream, { now: () => clock.time }) };
}

test("progress on a terminal is one line redrawn, and cleared at the end", () => {
  const { written, clock, line } = recorder(true);
  for (let done = 0; done <= 10; done++, clock.time += 500) line.report("Converting", done, 10);
  line.end();
  assert.ok(written.every((text) => text.startsWith("\r\x1b[K") && !text.includes("\n")));
  assert.equal(written[0], "\r\x1b[KConverting: 20 %, about 4 s left");
  assert.equal(written.at(-1), "\r\x1b[K");
});

test("a download shows its size, its speed of the last seconds and the time left", () => {
  const { written, clock, line } = recorder(false);
  const MiB = 2 ** 20;
  // An earlier run has left 100 MiB. Then it is slow for a minute, and fast.
  let done = 100 * MiB;
  for (let second = 0; second <= 80; second++, clock.time += 1000) {
    line.report("downloading org/model", done, 1000 * MiB, "bytes");
    done += second < 60 ? MiB / 4 : 5 * MiB;
  }
  assert.equal(written[0], "downloading org/model: 10 % of 1000 MiB, 256 KiB/s, about 60 min left\n");
  assert.equal(written.at(-1), "downloading org/model: 19 % of 1000 MiB, 5 MiB/s, about 161 s left\n");
});

test("a ticking line repeats the last message until it ends", (context) => {
  context.mock.timers.enable({ apis: ["setInterval"] });
  const reports: unknown[] = [];
  const line = tickingLine({ write: () => {} }, { report: (...report) => reports.push(report), end: () => {} });
  line.report("measuring", 0, 0);
  context.mock.timers.tick(2000);
  line.report("writing", 1, 3);
  context.mock.timers.tick(1000);
  line.end();
  context.mock.timers.tick(5000);
  const [measuring, writing] = [
    ["measuring", 0, 0],
    ["writing", 1, 3],
  ];
  assert.deepEqual(reports, [measuring, measuring, measuring, writing, writing]);
});

test("progress elsewhere is a line every few seconds, and nothing for quick work", () => {
  const { written, clock, line } = recorder(false);
  line.report("Quick", 0, 2);
  line.report("Quick", 2, 2);
  for (let done = 0; done < 20; done++, clock.time += 1000) line.report("Slow", done, 20);
  line.end();
  clock.time += 10_000;
  line.report("Slow", 0, 20); // once more, and quick this time
  line.end();
  assert.equal(written.length, 4);
  assert.ok(written.every((text) => text.startsWith("Slow: ") && text.endsWith("left\n")));
});

test("a table aligns words to the left and numbers to the right", () => {
  assert.equal(
    formatTable(
      ["name", "rank"],
      [
        ["plays", "8"],
        ["a", "16"],
      ],
    ),
    "name   rank\nplays     8\na        16",
  );
});

test("faults become one line and an exit code", () => {
  const usage = new UsageError(["--port must be a number."]);
  assert.equal(describeFault(usage), "--port must be a number.");
  const colored = new LorikeetError("data_invalid", "The label \u001b[2Ja\0 is unknown.");
  assert.equal(describeFault(colored), "The label \uFFFD[2Ja\uFFFD is unknown.");
  assert.equal(exitCodeOf(usage), 2);
  const many = new LorikeetError("model_invalid", "Two things\nare wrong.", { faults: ["first", "second"] });
  assert.equal(describeFault(many), "Two things are wrong.\n  - first\n  - second");
  const faults = Array.from({ length: 112 }, (_, i) => `fault ${i}`);
  const lines = describeFault(new LorikeetError("adapter_invalid", "Wrong.", { faults })).split("\n");
  assert.deepEqual([lines.length, lines.at(-2), lines.at(-1)], [14, "  - fault 11", "  - and 100 more"]);
  assert.equal(exitCodeOf(many), 3);
  const busy = Object.assign(new Error("listen"), { code: "EADDRINUSE", address: "127.0.0.1", port: 8080 });
  assert.match(describeFault(busy), /^The address 127\.0\.0\.1:8080 is in use/);
  assert.match(describeFault(new TypeError("a bug")), /TypeError: a bug\n {4}at /);
  const closing = Object.assign(new Error("An error was suppressed during disposal."), {
    ...{ name: "SuppressedError", error: usage, suppressed: many },
  });
  assert.equal(exitCodeOf(closing), 3);
  assert.match(describeFault(closing), /^Two things are wrong\.\n[\s\S]*\n {2}- then, while closing: --port must/);
});

test("the first signal asks for an end, the second ends at once with the shell's code", async () => {
  const exits: number[] = [];
  let send: (signal: "SIGINT" | "SIGTERM") => void = () => {};
  const terminal: Terminal = {
    stdout: { write: () => true },
    stderr: { write: () => true },
    environment: {},
    onCrash: () => () => {},
    onSignal(listener) {
      send = listener;
      return () => {
        send = () => {};
      };
    },
    exitNow: (code) => exits.push(code),
  };
  {
    using shutdown = listenForShutdown(terminal);
    assert.equal(shutdown.signal.aborted, false);
    send("SIGTERM");
    assert.equal(await shutdown.requested, "SIGTERM");
    assert.ok(shutdown.signal.aborted);
    assert.deepEqual(exits, []);
    send("SIGINT");
    assert.deepEqual(exits, [130]);
  }
  send("SIGTERM");
  assert.deepEqual(exits, [130], "nothing listens after the end");
});

test("the time left of a training run includes the remaining validations", () => {
  let time = 0;
  const written: string[] = [];
  const line = trainProgress({ write: (text) => written.push(text) }, 10, "rows", () => time);
  const report = { loss: 1, rate: 1e-3, gradientNorm: 1, tokens: 100, ms: 1000 };
  time = 1000;
  line.step({ step: 4, ...report }); // gone on with: three steps were made before
  time = 9000; // a step of a second, after a validation of seven
  line.step({ step: 5, ...report });
  assert.match(written[0] ?? "", /^step 4\/10 .* 6 s left\n$/);
  assert.match(written[1] ?? "", /^step 5\/10 .* 100 rows\/s {2}23 s left\n$/);
});

describe("the card of several bases", () => {
  const settings = resolveSettings(serveOptions, { flags: {}, environment: {}, file: {} });
  const devicesOf = (...bases: readonly [device: BaseSettings["device"], kind: BaseKind][]): string[] =>
    shareCard(
      bases.map(([device], index) => ({ ...settings, device, model: `base-${index}`, servedModelName: null })),
      bases.map(([, kind]) => kind),
    ).map(({ device }) => device);

  test("auto gives it to the first decoder, else to the first task model", () => {
    assert.deepEqual(devicesOf(["auto", "task"], ["auto", "decoder"], ["auto", "decoder"]), ["cpu", "auto", "cpu"]);
    assert.deepEqual(devicesOf(["auto", "task"], ["auto", "task"]), ["auto", "cpu"]);
    assert.deepEqual(devicesOf(["cpu", "decoder"], ["auto", "task"]), ["cpu", "auto"]);
  });

  test("an encoder-decoder, which no card runs, leaves it to a task model after it", () => {
    const translator = ["auto", "encoder-decoder"] as const;
    assert.deepEqual(devicesOf([...translator], ["auto", "task"], ["auto", "task"]), ["auto", "auto", "cpu"]);
    assert.deepEqual(devicesOf([...translator], [...translator]), ["auto", "auto"]);
    assert.deepEqual(devicesOf([...translator], ["webgpu", "task"]), ["auto", "webgpu"]);
  });

  test("a base that names a card has it, and a second one is refused", () => {
    assert.deepEqual(devicesOf(["auto", "decoder"], ["webgpu", "task"]), ["cpu", "webgpu"]);
    assert.throws(() => devicesOf(["webgpu", "task"], ["webgpu", "decoder"]), {
      message: /^--device webgpu runs one base, which is base-0; give the others `device: cpu`/,
    });
  });
});
