/** The uint8·int8 product of serving graphs on this CPU: what the probe promises, and how activations are quantized for it. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { exactRowLimit, probeIntegerKernel } from "../../src/engine/kernel-probe.js";
import { GraphBuilder } from "../../src/graph/builder.js";
import { Ops } from "../../src/graph/ops.js";
import { serializeGraph } from "../../src/graph/serialize.js";
import type { Graph } from "../../src/graph/types.js";
import { buildLinear } from "../../src/model/serving/linear.js";
import { Session } from "../../src/runtime/session.js";
import { Tensor } from "../../src/runtime/tensor.js";
import { readSegment } from "../../src/weights/convert/task.js";
import { type PreparedWeights, prepareWeights } from "../../src/weights/prepare.js";
import { gaussian, writeCheckpoint } from "../support/synthetic-weights.js";

const inputs = 200; // not a multiple of what a kernel takes at once
const outputs = 48;
const mostRows = 40;

let directory: string;
let prepared: PreparedWeights;
let graph: Graph;

before(async () => {
  directory = await mkdtemp(join(tmpdir(), "lorikeet-probe-"));
  const matrix = (seed: number) =>
    ({ dtype: "F32", shape: [outputs, inputs], values: gaussian(seed, outputs * inputs, 0.05) }) as const;
  const checkpoint = await writeCheckpoint(directory, { "q_proj.weight": matrix(1), "k_proj.weight": matrix(2) });
  const entry = { form: "int8row", rowLimit: await exactRowLimit(1) } as const;
  const plan = new Map(["q_proj", "k_proj"].map((path) => [`${path}.weight`, entry]));
  prepared = await prepareWeights(checkpoint, plan, { cacheDirectory: join(directory, "cache"), threads: 1 });
  graph = buildProduct();
});

after(async () => {
  await prepared.close();
  await rm(directory, { recursive: true });
});

/** Two layers that read one input, and one behind them that reads the first's output, cut to size. */
function buildProduct(): Graph {
  const builder = new GraphBuilder("product");
  const op = new Ops(builder);
  const parts = ["q_proj", "k_proj"].map((path) => ({ path, inFeatures: inputs, outFeatures: outputs }));
  const x = builder.input("x", "float32", ["tokens", inputs]);
  const y = op.concat(buildLinear(op, prepared.weights, parts, x), 1);
  const wide = op.slice(op.concat([y, y, y], 1), 1, 0, inputs);
  const [z] = buildLinear(op, prepared.weights, parts.slice(0, 1), wide);
  assert.ok(z);
  for (const value of [y, z]) {
    const [named] = builder.node("Identity", [value], [{ ...value, name: value === y ? "y" : "z" }]);
    if (named) builder.output(named);
  }
  return builder.build();
}

async function run(session: Session, x: Float32Array<ArrayBuffer>): Promise<Float32Array[]> {
  const rows = x.length / inputs;
  const binding = session.bind();
  binding.input("x", Tensor.from("float32", [rows, inputs], x));
  const results = [Tensor.zeros("float32", [rows, 2 * outputs]), Tensor.zeros("float32", [rows, outputs])] as const;
  binding.output("y", results[0]);
  binding.output("z", results[1]);
  await session.run(binding);
  return results.map(({ data }) => data);
}

/** The same arithmetic in JavaScript: ties to even, sums of integers, float32 scales. */
function expected(x: Float32Array, path: string): Float32Array {
  const weight = prepared.weights.get(`${path}.weight`);
  assert.ok(weight?.scales);
  const steps = new Int8Array(readSegment(weight.data).buffer);
  const scales = new Float32Array(readSegment(weight.scales).buffer);
  const scale = Math.fround(Math.max(...x.map(Math.abs)) * Math.fround(1 / 127));
  const q = Array.from(x, (value) => (scale === 0 ? 0 : roundToEven(Math.fround(value / scale))));
  return Float32Array.from(scales, (own, output) => {
    const sum = q.reduce((total, step, i) => total + step * (steps[i * outputs + output] ?? 0), 0);
    return Math.fround(Math.fround(sum * own) * scale);
  });
}

function roundToEven(value: number): number {
  const nearest = Math.round(value);
  return nearest - value === 0.5 && nearest % 2 !== 0 ? nearest - 1 : nearest;
}

describe("the integer kernel", () => {
  it("is exact at the limit that the probe chooses, whatever this CPU does at the full range", async () => {
    for (const threads of [1, 2]) {
      const limit = await exactRowLimit(threads);
      assert.equal(limit, (await probeIntegerKernel(threads)) === "exact" ? 127 : 64);
      assert.equal(await probeIntegerKernel(threads, limit), "exact");
      assert.equal(await probeIntegerKernel(threads, 64), "exact");
    }
  });

  it("gives every row the same bits among 1 to 40 rows, at 1 and 2 threads: those that the integers say", async () => {
    const x = Float32Array.from(gaussian(7, mostRows * inputs));
    x.fill(2, 0, inputs); // the largest sums: every activation is 255
    x.set(
      Float32Array.from({ length: inputs }, (_, i) => (i === 0 ? 127 : (i % 253) / 2 - 63)), // ties
      inputs,
    );
    x.fill(0, 2 * inputs, 3 * inputs);
    const [wanted = [], all = []]: number[][] = [[], []];
    for (let row = 0; row < mostRows; row++) {
      const own = x.subarray(row * inputs, (row + 1) * inputs);
      wanted.push(...expected(own, "q_proj"), ...expected(own, "k_proj"));
    }
    for (const threads of [1, 2]) {
      using session = await Session.create(serializeGraph(graph), { threads, spinning: false });
      const [y = all, z = all] = await run(session, x);
      assert.deepEqual(
        [...y].map((value) => value + 0),
        wanted.map((value) => value + 0),
      ); // -0 is 0
      for (let rows = 1; rows <= mostRows; rows++) {
        const [fewer, behind] = await run(session, x.slice(0, rows * inputs));
        assert.deepEqual(fewer, y.slice(0, rows * 2 * outputs));
        assert.deepEqual(behind, z.slice(0, rows * outputs));
        const [last] = await run(session, x.slice((rows - 1) * inputs, rows * inputs)); // alone
        assert.deepEqual(last, y.slice((rows - 1) * 2 * outputs, rows * 2 * outputs));
      }
    }
  });

  it("takes four operators to quantize an input, shared by the layers that read it", () => {
    const count = (op: string) => graph.nodes.filter((node) => node.op === op).length;
    assert.deepEqual(["Abs", "ReduceMax", "QuantizeLinear", "MatMulIntegerToFloat"].map(count), [2, 2, 2, 3]);
    assert.deepEqual(["Shape", "Expand", "Cast", "Div", "Round"].map(count), [1, 1, 0, 0, 0]);
  });
});
