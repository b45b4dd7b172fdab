import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { GraphBuilder } from "../../src/graph/builder.js";
import { serializeGraph } from "../../src/graph/serialize.js";
import type { Value } from "../../src/graph/types.js";
import type { PreparedWeight, WeightForm } from "../../src/model/weights.js";
import { externalInitializer } from "../../src/model/weights.js";
import { Session } from "../../src/runtime/session.js";
import { Tensor } from "../../src/runtime/tensor.js";
import { type PreparedWeights, prepareWeights } from "../../src/weights/prepare.js";
import { readWeight, rowTable } from "../support/read-weight.js";
import { relativeDistance } from "../support/relative-distance.js";
import { gaussian, writeCheckpoint } from "../support/synthetic-weights.js";

const microsoft = "com.microsoft";
const outputs = 96;
const inputs = 300; // not a multiple of 128
const tokens = 6;

let directory: string;
let prepared: PreparedWeights;

before(async () => {
  directory = await mkdtemp(join(tmpdir(), "lorikeet-kernels-"));
  const weight = { dtype: "BF16", shape: [outputs, inputs], values: gaussian(1, outputs * inputs, 0.05) } as const;
  const checkpoint = await writeCheckpoint(directory, { int4: weight, int8: weight, int8row: weight });
  const plan = new Map((["int4", "int8", "int8row"] as const).map((form) => [form as string, { form, rowLimit: 64 }]));
  prepared = await prepareWeights(checkpoint, plan, { cacheDirectory: join(directory, "cache"), threads: 2 });
});

after(async () => {
  await prepared.close();
  await rm(directory, { recursive: true });
});

describe("the kernels read prepared bytes as readWeight does", () => {
  it("MatMulNBits of 4 bits", () => checkProduct("int4", 0.012, nBits(4)));
  it("MatMulNBits of 8 bits", () => checkProduct("int8", 0.012, nBits(8)));
  it("MatMulIntegerToFloat by rows", () => checkProduct("int8row", 1e-5, byRows));

  it("GatherBlockQuantized on the same bytes as an int8 or int4 product", async () => {
    for (const form of ["int8", "int4"] as const) {
      const weight = weightOf(form);
      const { data, scales, bits } = rowTable(weight);
      const builder = new GraphBuilder("rows");
      const ids = builder.input("ids", "int64", ["tokens"]);
      const [rows] = builder.node(
        "GatherBlockQuantized",
        [externalInitializer(builder, "data", data), ids, externalInitializer(builder, "scales", scales)],
        [{ type: "float32", shape: ["tokens", Math.ceil(inputs / 128) * 128], name: "rows" }],
        { gather_axis: 0, quantize_axis: 1, block_size: 128, bits },
        microsoft,
      );
      const found = await run(builder, rows, { ids: Tensor.from("int64", [3], BigInt64Array.from([95n, 0n, 17n])) });
      const expected = readWeight(weight);
      for (const [at, id] of [95, 0, 17].entries()) {
        const row = found.subarray(at * 384, at * 384 + inputs);
        assert.deepEqual([...row], [...expected.subarray(id * inputs, (id + 1) * inputs)]);
      }
    }
  });
});

type Product = (builder: GraphBuilder, x: Value, weight: PreparedWeight) => Value | undefined;

function nBits(bits: 4 | 8): Product {
  return (builder, x, { data, scales }) => {
    assert(scales);
    const parts = [externalInitializer(builder, "w", data), externalInitializer(builder, "s", scales)];
    const attributes = { K: inputs, N: outputs, bits, block_size: 128, accuracy_level: 4 };
    return builder.node("MatMulNBits", [x, ...parts], [product], attributes, microsoft)[0];
  };
}

const product = { type: "float32", shape: ["tokens", outputs], name: "y" } as const;

/** The activations are integers over 127 already, so that nothing is lost on their way into uint8. */
const byRows: Product = (builder, x, { data, scales }) => {
  assert(scales);
  const scale = builder.scalar("float32", 1 / 127);
  const zero = builder.initializer("zero", "uint8", [], { kind: "inline", bytes: Uint8Array.of(128) });
  const [quantized] = builder.node("QuantizeLinear", [x, scale, zero], [{ type: "uint8", shape: x.shape }]);
  const parts = [externalInitializer(builder, "w", data), scale, externalInitializer(builder, "s", scales), zero];
  return builder.node("MatMulIntegerToFloat", [quantized ?? null, ...parts], [product], {}, microsoft)[0];
};

async function checkProduct(form: WeightForm, tolerance: number, build: Product): Promise<void> {
  const weight = weightOf(form);
  const builder = new GraphBuilder("product");
  const x = builder.input("x", "float32", ["tokens", inputs]);
  const values = gaussian(2, tokens * inputs, 0.3).map(
    (value) => Math.round(Math.max(-1, Math.min(1, value)) * 127) / 127,
  );
  const found = await run(builder, build(builder, x, weight), { x: Tensor.from("float32", [tokens, inputs], values) });
  const expected = multiply(values, readWeight(weight));
  const error = relativeDistance(found, expected);
  assert(error < tolerance, `${form}: ${error} from the product with the dequantized weights`); // activations are rounded too
}

async function run(
  builder: GraphBuilder,
  output: Value | undefined,
  feeds: Record<string, Tensor>,
): Promise<Float32Array> {
  assert(output);
  builder.output(output);
  using session = await Session.create(serializeGraph(builder.build()), { threads: 1 });
  const binding = session.bind();
  for (const [name, tensor] of Object.entries(feeds)) binding.input(name, tensor);
  binding.outputToHost(output.name);
  await session.run(binding);
  const [result] = binding.outputs();
  assert(result?.data instanceof Float32Array);
  return result.data;
}

/** x [tokens, inputs] times Wᵀ, W [outputs, inputs]. */
function multiply(x: Float32Array, weights: Float32Array): Float32Array {
  const y = new Float32Array(tokens * outputs);
  for (let token = 0; token < tokens; token++) {
    for (let output = 0; output < outputs; output++) {
      let sum = 0;
      for (let i = 0; i < inputs; i++) sum += (x[token * inputs + i] ?? 0) * (weights[output * inputs + i] ?? 0);
      y[token * outputs + output] = sum;
    }
  }
  return y;
}

function weightOf(form: WeightForm): PreparedWeight {
  const weight = prepared.weights.get(form);
  assert(weight?.form === form);
  return weight;
}
