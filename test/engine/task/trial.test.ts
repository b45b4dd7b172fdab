/** How rows lie in graphs whose files only name their sizes, and in graphs that mix rows or have no batch; what a card must compute to be used. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { LorikeetError } from "../../../src/base/errors.js";
import { distance, slowness } from "../../../src/engine/task/card-check.js";
import { probeRows } from "../../../src/engine/task/row-probe.js";
import { probeModel, startTaskEngine } from "../../../src/engine/task/start.js";
import { GraphBuilder } from "../../../src/graph/builder.js";
import { Ops } from "../../../src/graph/ops.js";
import type { Graph, Shape, Value } from "../../../src/graph/types.js";
import { readImageSize } from "../../../src/model/task/image-size.js";
import { openTaskModel } from "../../../src/model/task/open.js";
import { findWeightedNodes } from "../../../src/model/task/weighted-nodes.js";
import { cpu } from "../../../src/runtime/device/cpu.js";
import type { Bindable, Device, DeviceTensor } from "../../../src/runtime/device/device.js";
import { Tensor } from "../../../src/runtime/tensor.js";
import { taskRoot } from "../../support/task-models.js";

const bytesOf = (count: number): Uint8Array =>
  new Uint8Array(Float32Array.from({ length: count }, (_, i) => Math.sin(i + 1)).buffer);

interface Parts {
  readonly op: Ops;
  input(name: string, type: "float32" | "int64", shape: Shape): Value;
  weight(name: string, shape: readonly number[]): Value;
}

function graphOf(body: (parts: Parts) => Value[]): Graph {
  const builder = new GraphBuilder("test");
  const weight = (name: string, shape: readonly number[]): Value =>
    builder.initializer(name, "float32", shape, {
      kind: "inline",
      bytes: bytesOf(shape.reduce((product, size) => product * size, 1)),
    });
  const input = (name: string, type: "float32" | "int64", shape: Shape) => builder.input(name, type, shape);
  for (const output of body({ op: new Ops(builder), input, weight })) builder.output(output);
  return builder.build();
}

async function probe(graph: Graph, imageSize: readonly [number, number] | null = null) {
  const targets = findWeightedNodes(graph);
  const { isBatched, reason, layouts } = await probeRows(graph, targets, { threads: 1, imageSize });
  return { isBatched, reason, layouts: targets.map((target) => layouts.get(target)) };
}

test("an image with only names for sizes gets its channels from the convolution, and its size from the configuration", async () => {
  const graph = graphOf(({ op, input, weight }) => {
    const x = input("pixel_values", "float32", ["batch_size", "num_channels", "height", "width"]);
    const y = op.one("Conv", [x, weight("w", [2, 5, 16, 24])], "float32", ["batch_size", 2, "h", "v"]);
    // Only images of 16 by 24 give one position.
    const flat = op.one("Reshape", [y, op.builder.constant("int64", [2], [-1, 2])], "float32", ["batch_size", 2]);
    return [op.matMul(flat, weight("head.weight", [2, 3]))];
  });
  assert.deepEqual(await probe(graph, [16, 24]), { isBatched: true, reason: null, layouts: ["first", "first"] });
  const unknown = await probe(graph);
  assert.equal(unknown.isBatched, false);
});

test("a weight among the outputs, or inputs that nobody has memory for, leave rows alone and do not stop the start", async () => {
  const weights = graphOf(({ op, input, weight }) => {
    const w = weight("w", [4, 4]);
    return [op.matMul(input("x", "float32", ["batch", 4]), w), w];
  });
  assert.equal((await probe(weights)).reason, 'rows of the output "w" cannot be told apart');
  const vast = graphOf(({ op, input }) => [
    op.one("Relu", [input("x", "float32", ["batch", 2 ** 40])], "float32", ["batch", 2 ** 40]),
  ]);
  assert.equal((await probe(vast)).reason, "the model did not run with trial inputs");
});

test("an image of one position does not hide that larger ones have their positions before their rows", async () => {
  const graph = graphOf(({ op, input, weight }) => {
    const x = input("pixel_values", "float32", ["batch_size", 3, "height", "width"]);
    const strides = { kind: "ints", value: [64, 64] } as const;
    const y = op.one("Conv", [x, weight("w", [2, 3, 64, 64])], "float32", ["batch_size", 2, "h", "v"], { strides });
    const turned = op.one("Transpose", [y], "float32", ["h", "v", "batch_size", 2], {
      perm: { kind: "ints", value: [2, 3, 0, 1] },
    });
    const flat = op.one("Reshape", [turned, op.builder.constant("int64", [2], [-1, 2])], "float32", ["all", 2]);
    const inner = op.matMul(flat, weight("inner.weight", [2, 2]));
    const back = op.one("Reshape", [inner, op.one("Shape", [turned], "int64", [4])], "float32", turned.shape);
    return [
      op.one("ReduceMean", [back, op.builder.constant("int64", [2], [0, 1])], "float32", ["batch_size", 2], {
        keepdims: 0,
      }),
    ];
  });
  const { isBatched, layouts } = await probe(graph);
  assert.equal(isBatched, true);
  assert.deepEqual(layouts, ["first", "uniform"]);
});

test("rows along the second axis, and inputs that are the same for every row, are told apart", async () => {
  const graph = graphOf(({ op, input, weight }) => {
    const ids = input("input_ids", "int64", ["batch", "length"]);
    const words = op.gather(weight("words.weight", [11, 4]), ids);
    const turned = op.transpose(words, [1, 0, 2]);
    const inner = op.matMul(turned, weight("inner.weight", [4, 4]));
    const positions = op.gather(weight("positions.weight", [1, 4]), op.builder.constant("int64", [1, 1], [0]));
    const mask = op.one("Shape", [ids], "int64", [2], { start: 1 });
    const range = op.one(
      "Unsqueeze",
      [
        op.one("Range", [op.like(ids, 0), op.one("Squeeze", [mask], "int64", []), op.like(ids, 1)], "int64", [
          "length",
        ]),
        op.builder.constant("int64", [1], [0]),
      ],
      "int64",
      [1, "length"],
    );
    const placed = op.one("Gather", [weight("places.weight", [64, 4]), range], "float32", [1, "length", 4], {
      axis: 0,
    });
    const back = op.one("Transpose", [inner], "float32", ["batch", "length", 4], {
      perm: { kind: "ints", value: [1, 0, 2] },
    });
    const sum = op.one("Add", [op.one("Add", [back, placed], "float32", []), positions], "float32", [
      "batch",
      "length",
      4,
    ]);
    return [op.one("Identity", [sum], "float32", ["batch", "length", 4])];
  });
  const { isBatched, layouts } = await probe(graph);
  assert.equal(isBatched, true);
  assert.deepEqual(layouts, ["first", "second", "uniform", "shared"]);
});

test("a half-precision table that all rows share, which takes no adapters, does not keep rows from running together", async () => {
  const graph = graphOf(({ op, input }) => {
    const data = { kind: "inline", bytes: new Uint8Array(16) } as const;
    const table = op.builder.initializer("positions.weight", "float16", [2, 4], data);
    const x = input("x", "float32", ["batch", 1, 4]);
    const size = op.one("Shape", [x], "int64", [1], { start: 1, end: 2 });
    const index = op.one("Unsqueeze", [size, op.builder.constant("int64", [1], [0])], "int64", [1, 1]);
    const position = op.one("Gather", [table, index], "float16", [1, 1, 4], { axis: 0 });
    const placed = op.one("Cast", [position], "float32", [1, 1, 4], { to: 1 });
    return [op.one("Add", [x, placed], "float32", ["batch", 1, 4])];
  });
  const { isBatched, reason, layouts } = await probe(graph);
  assert.deepEqual([isBatched, reason, layouts], [true, null, ["shared"]]);
});

test("a model that mixes its rows, or has a fixed first axis, runs one request at a time", async () => {
  const mixed = graphOf(({ op, input, weight }) => {
    const x = input("x", "float32", ["batch", 4]);
    const y = op.matMul(x, weight("w.weight", [4, 2]));
    return [op.one("Sub", [y, op.mean(y, [0])], "float32", ["batch", 2])];
  });
  const found = await probe(mixed);
  assert.deepEqual([found.isBatched, found.reason], [false, 'rows of the output "Sub" cannot be told apart']);
  const single = graphOf(({ op, input, weight }) => [
    op.matMul(input("x", "float32", [1, 4]), weight("w.weight", [4, 2])),
  ]);
  assert.deepEqual(await probe(single), {
    isBatched: false,
    reason: "the first axis of an input has a fixed size",
    layouts: ["first"],
  });
});

test("the size of images comes from config.json or the processor", async () => {
  const sizeOf = (model: string, names: string[]) => readImageSize(join(taskRoot, model), names);
  assert.deepEqual(await sizeOf("yolos", ["preprocessor_config.json"]), [32, 32]);
  assert.equal(await sizeOf("policy-mlp", ["config.json"]), null);
  assert.deepEqual(await sizeOf("efficientnet", ["config.json"]), [32, 32]);
});

test("a model whose loop does not end is stopped", async () => {
  const inner = new GraphBuilder("body");
  inner.input("turn", "int64", []);
  const goOn = inner.input("go_on", "bool", []);
  const state = inner.input("state", "float32", ["batch", 4]);
  const ops = new Ops(inner);
  inner.output(ops.one("Identity", [goOn], "bool", []));
  inner.output(ops.one("Neg", [state], "float32", ["batch", 4]));
  const body = { kind: "graph" as const, value: inner.build() };
  const graph = graphOf(({ op, input }) => {
    const x = input("x", "float32", ["batch", 4]);
    const turns = op.builder.constant("int64", [], [Number.MAX_SAFE_INTEGER]);
    const starts = op.one("Cast", [turns], "bool", [], { to: 9 });
    return [op.one("Loop", [turns, starts, x], "float32", ["batch", 4], { body })];
  });
  const signal = AbortSignal.timeout(20);
  const probing = probeRows(graph, [], { threads: 1, imageSize: null, signal });
  await assert.rejects(probing, (error) => error instanceof LorikeetError && error.code === "cancelled");
});

/** The CPU under the name of a card, which changes what is uploaded to it. */
function fakeCard(changed: (value: number) => number): Device {
  return {
    ...cpu,
    ...{ kind: "webgpu", name: "Card N", memoryBytes: null, allocatedBytes: 0, software: false, provider: null },
    capabilities: { ...cpu.capabilities, hostMemory: false },
    allocate: (type, shape) => cpu.allocate(type, shape),
    upload: async (copies: readonly (readonly [Bindable, DeviceTensor])[]) => {
      for (const [from, to] of copies) {
        assert.ok(from instanceof Tensor && to instanceof Tensor);
        for (const [i, value] of from.data.entries()) to.data[i] = changed(Number(value));
      }
    },
    turn: (job) => job(),
    onLost: () => () => {},
    rows: (count) => cpu.rows(count),
    download: (from, into) => cpu.download(from, into),
    [Symbol.dispose]: () => {},
  };
}

async function startPolicyOn(device: Device): Promise<unknown> {
  const model = await openTaskModel(join(taskRoot, "policy-mlp"));
  const found = await probeModel(model, { threads: 1, imageSize: null });
  const adapters = { prefetch: () => {}, acquire: () => assert.fail("no adapter is asked for") };
  const limits = { threads: 1, maxBatch: 4, maxQueue: 4, activeAdapterBytes: 2 ** 20 };
  return await startTaskEngine({ ...limits, model, device, adapters }, found);
}

test("a card without a kernel for a node that computes is refused, with the operators' names", async () => {
  await assert.rejects(startPolicyOn(fakeCard((value) => value)), {
    code: "device_unavailable",
    message:
      /^The model policy-mlp cannot run on Card N: the card has no kernel for .*Gemm.*MatMul.*\. Use --device cpu\.$/,
  });
});

test("results are compared as numbers, whatever their type is", () => {
  const tensor = (
    type: "float16" | "bfloat16" | "float32" | "int64",
    data: Uint16Array | Float32Array | BigInt64Array,
  ) => ({ type, shape: [data.length], data }) as const;
  const halves = (...bits: number[]) => tensor("float16", Uint16Array.from(bits));
  assert.equal(distance(halves(0x3c00, 0x8000), halves(0x3c00, 0x0000)), 0, "zeros of both signs");
  assert.equal(distance(halves(0x3c00, 0x3800), halves(0x3c00, 0xb800)), 1, "1 and 0.5 beside 1 and -0.5");
  assert.equal(distance(tensor("bfloat16", Uint16Array.of(0x4000)), tensor("bfloat16", Uint16Array.of(0x3f80))), 0.5);
  const [numbers, odd] = [Float32Array.of(4, Number.NaN), Float32Array.of(4, 1)];
  assert.equal(distance(tensor("float32", numbers), tensor("float32", numbers)), 0);
  assert.equal(distance(tensor("float32", numbers), tensor("float32", odd)), Number.POSITIVE_INFINITY);
  assert.equal(distance(tensor("int64", BigInt64Array.of(4n)), tensor("int64", BigInt64Array.of(3n))), 0.25);
});

test("a card that computes something else than the CPU is refused, with the difference", async () => {
  await assert.rejects(startPolicyOn(fakeCard((value) => 1.01 * value)), {
    code: "device_unavailable",
    message:
      /^The model policy-mlp cannot run on Card N: its results differ from the CPU's by 0\.0\d+ of the largest one; 0\.001 is allowed\. Use --device cpu\.$/,
  });
  await assert.rejects(startPolicyOn(fakeCard(() => Number.NaN)), {
    code: "device_unavailable",
    message: /by Infinity of/,
  });
});

test("a card that runs a batch no faster than the CPU is told with both medians, and what the first run compiles is not counted", async () => {
  let clock = 0;
  const taking =
    (...times: number[]) =>
    async () => {
      clock += times.length > 1 ? (times.shift() ?? 0) : (times[0] ?? 0);
    };
  const now = () => clock;
  assert.equal(await slowness(taking(5_000, 4), taking(5), now), null);
  assert.deepEqual(await slowness(taking(9.87, 9.87, 1, 90, 9.87), taking(0.301), now), { cardMs: 9.9, cpuMs: 0.3 });
  assert.deepEqual(await slowness(taking(5), taking(5), now), { cardMs: 5, cpuMs: 5 });
});
