/** Linear layers as serving kernels: fp32 Gemm, MatMulNBits for blocks of int4 and int8, integer products for per-row int8. */
import type { Ops } from "../graph/ops.js";
import type { Value } from "../graph/types.js";
import type { LinearPart } from "./decoder.js";
import { externalInitializer, type WeightForm, type WeightSource } from "./weights.js";

const contrib = "com.microsoft";

/** y = x·Wᵀ + bias for each part; x is [tokens, in]. Activations are quantized once for all parts that need it. */
export function buildLinear(op: Ops, weights: WeightSource, parts: readonly LinearPart[], x: Value): Value[] {
  let quantized: QuantizedRows | null = null;
  const build = (part: LinearPart): Value => {
    const name = `${part.path}.weight`;
    const form = weights.form(name);
    const biasName = `${part.path}.bias`;
    const bias = weights.has(biasName) ? externalInitializer(op.builder, biasName, fp32(weights.form(biasName))) : null;
    switch (form.kind) {
      case "fp32":
        return plain(op, name, form, part, x, bias);
      case "int4":
      case "int8":
        return blocks(op, name, form, part, x, bias);
      case "int8row": {
        quantized ??= quantizeRows(op, x);
        return integer(op, name, form, part, quantized, bias);
      }
    }
  };
  return parts.map(build);
}

interface QuantizedRows {
  readonly data: Value;
  readonly scale: Value;
  readonly zero: Value;
}

function fp32(form: WeightForm) {
  if (form.kind !== "fp32") throw new Error(`A bias is ${form.kind}`);
  return form.data;
}

function plain(
  op: Ops,
  name: string,
  form: WeightForm & { kind: "fp32" },
  part: LinearPart,
  x: Value,
  bias: Value | null,
): Value {
  const w = externalInitializer(op.builder, name, form.data);
  // gpt2's Conv1D stores [in, out]; a square one cannot be told by its shape, but only gpt2 names its layers c_*.
  const conv1d = /\.c_(attn|proj|fc)$/.test(part.path);
  return op.gemm(x, w, bias, { transB: !conv1d });
}

function blocks(
  op: Ops,
  name: string,
  form: WeightForm & { kind: "int4" | "int8" },
  part: LinearPart,
  x: Value,
  bias: Value | null,
): Value {
  const scales = externalInitializer(op.builder, `${name}.scales`, form.scales);
  const zeros = form.zeroPoints && externalInitializer(op.builder, `${name}.zero_points`, form.zeroPoints);
  const data = externalInitializer(op.builder, name, form.data);
  return op.one(
    "MatMulNBits",
    [x, data, scales, zeros, null, bias],
    "float32",
    [x.shape[0] ?? 0, part.outFeatures],
    {
      K: part.inFeatures,
      N: part.outFeatures,
      bits: form.kind === "int4" ? 4 : 8,
      block_size: 128,
      accuracy_level: 4,
    },
    contrib,
  );
}

/** x as uint8 around 128 with one scale a row: a row's numbers never depend on its neighbours. */
function quantizeRows(op: Ops, x: Value): QuantizedRows {
  const { builder } = op;
  const largest = op.reduce("ReduceMax", op.unary("Abs", x), [1]); // [tokens, 1]
  const floor = builder.scalar("float32", 1e-20);
  const scale = op.scale(op.binary("Max", largest, floor), Math.fround(1 / 127));
  const rounded = op.one("Round", [op.div(x, scale)], "float32", x.shape);
  const data = op.cast(op.add(rounded, op.like(rounded, 128)), "uint8");
  const zero = builder.initializer("quantized.zero", "uint8", [], { kind: "inline", bytes: Uint8Array.of(128) });
  return { data, scale, zero };
}

function integer(
  op: Ops,
  name: string,
  form: WeightForm & { kind: "int8row" },
  part: LinearPart,
  x: QuantizedRows,
  bias: Value | null,
): Value {
  const w = externalInitializer(op.builder, name, form.data);
  const scales = externalInitializer(op.builder, `${name}.scales`, form.scales);
  const unit = op.builder.scalar("float32", 1);
  const shape = [x.data.shape[0] ?? 0, part.outFeatures];
  const product = op.one(
    "MatMulIntegerToFloat",
    [x.data, w, unit, scales, x.zero, null],
    "float32",
    shape,
    {},
    contrib,
  );
  const scaled = op.mul(product, x.scale);
  return bias ? op.add(scaled, bias) : scaled;
}
