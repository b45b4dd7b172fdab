/** Convolutions over blocks of channels give what they give on plain images, and each row the same bits in any batch. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { HostTaskAdapter, HostTaskModule } from "../../../src/adapter/types.js";
import { TaskBank } from "../../../src/engine/task/bank.js";
import { probeBlocks } from "../../../src/engine/task/block-probe.js";
import { adaptedRowsIndependent } from "../../../src/engine/task/row-test.js";
import { type RunRow, TaskRunner } from "../../../src/engine/task/runner.js";
import type { Stacks } from "../../../src/engine/task/stacks.js";
import type { TaskTensor } from "../../../src/engine/task/types.js";
import { GraphBuilder } from "../../../src/graph/builder.js";
import { Ops } from "../../../src/graph/ops.js";
import type { Attribute, Graph, Value } from "../../../src/graph/types.js";
import { type BlockPlan, planBlocks } from "../../../src/model/task/blocked/plan.js";
import { loadBlocks } from "../../../src/model/task/blocked/weights.js";
import { findTaskModules, type TaskModule } from "../../../src/model/task/target-modules.js";
import { taskWeightBytes } from "../../../src/model/task/weight-bytes.js";
import { ort } from "../../../src/runtime/api.js";
import { alignedFloats, Tensor } from "../../../src/runtime/tensor.js";

const wave = (count: number, step: number): Float32Array<ArrayBuffer> =>
  Float32Array.from({ length: count }, (_, i) => Math.sin(1 + i * step));

type Attributes = Readonly<Record<string, number | string | readonly number[] | Attribute>>;

/** Writes a small network. Values carry their number of channels. */
class Network {
  readonly #builder = new GraphBuilder("network");
  readonly #op = new Ops(this.#builder);
  readonly image = this.#builder.input("image", "float32", ["rows", 3, 17, 14]);
  #count = 0;

  weight(shape: readonly number[]): Value {
    const size = shape.reduce((product, axis) => product * axis, 1);
    const values = wave(size, 0.7 + 0.1 * this.#count).map((x) => x / Math.sqrt(size / (shape[0] ?? 1)));
    const bytes = new Uint8Array(values.buffer);
    return this.#builder.initializer(`w${this.#count++}.weight`, "float32", shape, { kind: "inline", bytes });
  }

  some(op: string, inputs: readonly Value[], attributes: Attributes = {}): Value {
    return this.#op.one(op, inputs, "float32", [], attributes);
  }

  conv(x: Value, weight: Value, attributes: Attributes = {}): Value {
    return this.some("Conv", [x, weight, this.weight([Number(weight.shape[0])])], attributes);
  }

  axes(...values: number[]): Value {
    return this.#builder.constant("int64", [values.length], values);
  }

  number(value: number): Value {
    return this.#builder.scalar("float32", value);
  }

  graph(y: Value): Graph {
    const [output] = this.#builder.node("Identity", [y], [{ type: "float32", shape: [], name: "y" }]);
    assert(output);
    this.#builder.output({ ...output, unknown: "shape" });
    return this.#builder.build();
  }
}

const same = { pads: [1, 1, 1, 1] };

/** Each of these has convolutions in blocks, and their number. */
const networks: readonly (readonly [name: string, convolutions: number, body: (net: Network) => Value])[] = [
  [
    "residual blocks of sizes that do not fill a block",
    5,
    (net) => {
      const stem = net.some("Relu", [
        net.conv(net.image, net.weight([20, 3, 5, 5]), { strides: [2, 2], pads: [2, 1, 1, 2] }),
      ]);
      const inner = net.some("Relu", [net.conv(stem, net.weight([20, 20, 3, 3]), same)]);
      const outer = net.some("Relu", [net.some("Add", [net.conv(inner, net.weight([20, 20, 3, 3]), same), stem])]);
      const short = net.conv(outer, net.weight([12, 20, 1, 1]), { strides: [2, 2] });
      const long = net.conv(outer, net.weight([12, 20, 3, 3]), { ...same, strides: [2, 2] });
      return net.some("Relu", [net.some("Add", [short, long])]);
    },
  ],
  [
    "a layer that adds its own input",
    2,
    (net) => {
      const x = net.conv(net.image, net.weight([16, 3, 3, 3]), same);
      return net.some("Add", [net.conv(x, net.weight([16, 16, 3, 3]), same), x]);
    },
  ],
  [
    "depthwise layers with squeeze-and-excitation",
    5,
    (net) => {
      const silu = (x: Value): Value => net.some("Mul", [x, net.some("Sigmoid", [x])]);
      const wide = silu(net.conv(net.image, net.weight([24, 3, 1, 1])));
      const deep = silu(net.conv(wide, net.weight([24, 1, 3, 3]), { ...same, group: 24, strides: [2, 2] }));
      const mean = net.some("ReduceMean", [deep, net.axes(2, 3)], { keepdims: 1 });
      const few = silu(net.conv(mean, net.weight([6, 24, 1, 1])));
      const gate = net.some("HardSigmoid", [net.conv(few, net.weight([24, 6, 1, 1]))]);
      return net.conv(net.some("Mul", [gate, deep]), net.weight([10, 24, 1, 1]));
    },
  ],
  [
    "pools, joined branches and groups of whole blocks",
    5,
    (net) => {
      const x = net.some("Clip", [net.conv(net.image, net.weight([32, 3, 3, 3])), net.number(0), net.number(6)]);
      const pool = { kernel_shape: [3, 3], strides: [2, 2], ceil_mode: 1 };
      const a = net.conv(net.some("MaxPool", [x], pool), net.weight([32, 16, 3, 3]), { ...same, group: 2 });
      const b = net.conv(net.some("AveragePool", [x], { ...pool, count_include_pad: 1 }), net.weight([16, 32, 1, 1]));
      const joined = net.some(
        "Concat",
        [a, net.conv(net.some("AveragePool", [x], pool), net.weight([16, 32, 1, 1])), b],
        { axis: 1 },
      );
      return net.some("GlobalMaxPool", [net.conv(joined, net.weight([5, 64, 3, 3]), { auto_pad: "SAME_UPPER" })]);
    },
  ],
  [
    "layers that leave blocks and return, beside groups that do not fill one",
    3,
    (net) => {
      const x = net.conv(net.image, net.weight([16, 3, 3, 3]), same);
      const turned = net.some("Transpose", [net.some("Div", [x, net.some("Exp", [x])])], { perm: [0, 1, 3, 2] });
      const y = net.conv(
        net.conv(turned, net.weight([16, 4, 3, 3]), { ...same, group: 4 }),
        net.weight([16, 16, 1, 1]),
      );
      const spread = net.conv(turned, net.weight([16, 16, 3, 3]), { pads: [2, 1, 2, 1], dilations: [2, 1] });
      return net.some("Add", [spread, y]);
    },
  ],
];

const imageOf = (row: number): Tensor<"float32"> =>
  Tensor.from("float32", [1, 3, 17, 14], wave(3 * 17 * 14, 0.3 + row));
const rowsOf = (count: number): TaskTensor[] => Array.from({ length: count }, (_, row) => imageOf(row));

/** Every module with a product; some with DoRA, some with a bias of their own. */
function adapterOf(modules: readonly TaskModule[], rank: number): HostTaskAdapter {
  const hosts = modules.map(({ path, kernel, inFeatures, outFeatures, groups }, index): [string, HostTaskModule] => {
    const size = rank * inFeatures * kernel.reduce((product, axis) => product * axis, 1);
    const scaled = (count: number, by: number, step: number) => wave(count, step).map((x) => by * x);
    const magnitude =
      rank > 8 && index % 2 === 1 && groups === 1 ? scaled(outFeatures, 0.2, 0.01).map((x) => 1 + x) : null;
    const addedBias = rank > 8 && index % 3 === 0 ? scaled(outFeatures, 0.1, 0.9) : null;
    const own = { a: scaled(size, 0.05, rank), b: scaled(rank * outFeatures, 0.05, rank + 0.5), rank };
    return [path, { ...own, magnitude, addedBias, bias: null, whole: null }];
  });
  return { digest: `rank ${rank}`, rank, bytes: 0, labels: null, modules: new Map(hosts) };
}

interface Rig {
  readonly graph: Graph;
  readonly modules: readonly TaskModule[];
}

const runnerOptions = ({ graph, modules }: Rig) => {
  const layouts = new Map(modules.flatMap(({ uses }) => uses.map(({ target }) => [target, "first"] as const)));
  return { graph, layouts, isBatched: true, maxBatch: 4, threads: 1, spinning: false };
};

async function runAll(
  { graph, modules }: Rig,
  blocks: BlockPlan | null,
  ranks: readonly number[],
): Promise<Float32Array[]> {
  await using runner = new TaskRunner(runnerOptions({ graph, modules }));
  const bank = new TaskBank({ modules, maxPlaces: 4, maxBytes: Number.POSITIVE_INFINITY, blocks });
  const { stacks, places } = await bank.place(ranks.map((rank) => adapterOf(modules, rank)));
  assert.equal(stacks.blocks, blocks);
  const rows = rowsOf(4).map((image, row) => ({
    inputs: new Map([["image", image]]),
    place: [...places, 0][row % 3] ?? 0,
  }));
  const together = await runner.run(rows, stacks);
  const of = (outputs: ReadonlyMap<string, TaskTensor> | undefined): Float32Array =>
    outputs?.get("y")?.data as Float32Array;
  for (const row of [1, 2]) {
    const [alone] = await runner.run(rows.slice(row, row + 1), stacks);
    assert.deepEqual(of(alone), of(together[row]), `row ${row} has the same bits alone`);
  }
  const [, paired] = await runner.run(
    [rows[0], rows[3]].flatMap((row) => row ?? []),
    stacks,
  );
  assert.deepEqual(of(paired), of(together[3]), "a row has the same bits in a pair");
  return together.map(of);
}

const block = await probeBlocks(1);

for (const [name, convolutions, body] of networks) {
  test(name, { skip: block === null && "this CPU has no such kernels" }, async () => {
    const net = new Network();
    const graph = net.graph(body(net));
    const modules = await findTaskModules([{ role: "whole", label: name, graph }], null, { foldedNorms: false });
    const blocks = planBlocks(graph, modules, block ?? 0);
    assert.equal(blocks?.convolutions.size, convolutions);
    for (const ranks of [
      [8, 3],
      [19, 4],
    ]) {
      const plain = await runAll({ graph, modules }, null, ranks);
      const found = await runAll({ graph, modules }, blocks, ranks);
      for (const [row, values] of plain.entries()) {
        const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
        const other = found[row] ?? assert.fail();
        assert.equal(other.length, values.length);
        const error = values.reduce((most, value, i) => Math.max(most, Math.abs(value - (other[i] ?? Number.NaN))), 0);
        assert.ok(largest > 0 && error <= 1e-5 * largest, `row ${row} of ranks ${ranks}: ${error / largest}`);
      }
    }
  });
}

const skip = block === null && "this CPU has no such kernels";

/** The first of the networks, with its graph as `change` makes it. */
async function residual(change: (graph: Graph) => Graph = (graph) => graph) {
  const [[label, , body] = assert.fail()] = networks;
  const net = new Network();
  const graph = change(net.graph(body(net)));
  const graphs = [{ role: "whole", label, graph }] as const;
  const modules = await findTaskModules(graphs, null, { foldedNorms: false });
  return { graph, graphs, modules, blocks: planBlocks(graph, modules, block ?? 0) ?? assert.fail() };
}

/** Gives rows that run together other bits wherever a module is adapted. */
class Uneven extends TaskRunner {
  adapted: TaskModule | null = null;

  override async run(rows: readonly RunRow[], stacks: Stacks | null, signal?: AbortSignal) {
    const found = await super.run(rows, stacks, signal);
    if (rows.length > 1 && this.adapted && stacks?.plan.has(this.adapted)) {
      const all = found.flatMap((outputs) => [...outputs.values()]);
      for (const { data } of all) if (data instanceof Float32Array) data.fill(0);
    }
    return found;
  }
}

test("the test at start notices rows that differ at any convolution", { skip }, async () => {
  const { graph, modules, blocks } = await residual();
  await using runner = new Uneven(runnerOptions({ graph, modules }));
  const trial = { of: (seeds: readonly number[]) => new Map([["image", imageOf(seeds[0] ?? 0)]]) };
  for (const adapted of [null, ...modules]) {
    runner.adapted = adapted;
    const isEven = await adaptedRowsIndependent(runner, trial, 4, modules, blocks);
    assert.equal(isEven, adapted === null, adapted?.path ?? "no module");
  }
});

test("weights that could not be read once are read again by the next run", { skip }, async () => {
  let fails = false;
  const { graph, modules, blocks } = await residual((whole) => ({
    ...whole,
    initializers: whole.initializers.map((item) => {
      const { data } = item;
      if (data.kind !== "inline" || item.value.name !== "w0.weight") return item;
      const bytes = (): Uint8Array => (fails ? assert.fail("the disk is busy") : data.bytes);
      return {
        ...item,
        data: {
          kind: "inline",
          get bytes() {
            return bytes();
          },
        },
      };
    }),
  }));
  await using runner = new TaskRunner(runnerOptions({ graph, modules }));
  const bank = new TaskBank({ modules, maxPlaces: 4, maxBytes: Number.POSITIVE_INFINITY, blocks });
  const { stacks, places } = await bank.place([adapterOf(modules, 4)]);
  const rows = [{ inputs: new Map([["image", imageOf(0)]]), place: places[0] ?? 0 }];
  for (const given of [stacks, null]) {
    fails = true;
    await assert.rejects(runner.run(rows, given), /the disk is busy/);
    fails = false;
    assert.equal((await runner.run(rows, given)).length, 1);
  }
});

test("convolutions read their weights from the start of a cache line", { skip }, async () => {
  const { blocks } = await residual();
  for (const { weight } of (await loadBlocks(blocks, alignedFloats)).weights.values()) {
    assert.equal(weight.data.kind, "inline");
    if (weight.data.kind !== "inline") continue;
    const { buffer, byteOffset } = weight.data.bytes;
    assert.ok(buffer instanceof ArrayBuffer);
    assert.equal((ort().address(buffer) + BigInt(byteOffset)) % 64n, 0n, weight.value.name);
  }
});

test("the memory of a model counts its copies in blocks", { skip }, async () => {
  const { graphs, modules, blocks } = await residual();
  const file = { role: "whole", label: "whole", path: "", opset: 20, producer: "" } as const;
  const model = { opened: [{ ...file, graphs }], modules };
  const made = [...(await loadBlocks(blocks, alignedFloats)).weights.values()].flatMap(({ weight, bias }) =>
    [weight, bias ?? []].flat(),
  );
  const own = new Set<unknown>(graphs[0].graph.initializers);
  const copies = made.filter((item) => !own.has(item));
  const bytes = copies.reduce((sum, { data }) => sum + (data.kind === "inline" ? data.bytes.byteLength : 0), 0);
  assert.ok(bytes > 0);
  assert.equal(taskWeightBytes(model, block) - taskWeightBytes(model, null), bytes);
});
