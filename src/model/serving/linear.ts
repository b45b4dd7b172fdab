/** Linear layers as serving kernels: fp32 Gemm, MatMulNBits for int4 and int8 blocks, integer products for per-row int8. */
import { assert } from "../../base/errors.js";
import { at } from "../../base/list.js";
import type { GraphBuilder } from "../../graph/builder.js";
import type { Ops } from "../../graph/ops.js";
import type { ElementType, Value } from "../../graph/types.js";
import type { TargetModule } from "../blueprint.js";
import { externalInitializer, type PreparedWeight, plainWeight, type WeightSource, weightOf } from "../weights.js";
import type { FloatType } from "./target.js";

const contrib = "com.microsoft";
const blockSize = 128;

export interface LinearOptions {
  /** Default true. */
  readonly biased?: boolean;
  /** The path of the parts' joined weights, if they are joined. */
  readonly joined?: string | null;
  /**
   * Of products with blocks: at 4, the default, activations may be rounded to int8, each kernel in its own way; at 0 they are exact, so
   * that every device has the same numbers.
   */
  readonly accuracyLevel?: 0 | 4;
}

type ProductOptions = Required<Omit<LinearOptions, "joined">>;

/** y = x·Wᵀ + bias for each part; x is [tokens, in]. Joined parts run as one product. */
export function buildLinear(
  op: Ops,
  weights: WeightSource,
  parts: readonly TargetModule[],
  x: Value,
  { biased = true, joined = null, accuracyLevel = 4 }: LinearOptions = {},
): Value[] {
  const rows = shared(op, x);
  const of = (part: TargetModule): Value => product(op, weights, part, x, rows, { biased, accuracyLevel });
  const whole = joinedPart(weights, parts, joined);
  if (!whole) return parts.map(of);
  return op.split(
    of(whole),
    parts.map((part) => part.outFeatures),
    1,
  );
}

/** The parts' concatenated outputs, [tokens, sum of out]; null if they are not joined. */
export function buildJoined(
  op: Ops,
  weights: WeightSource,
  parts: readonly TargetModule[],
  x: Value,
  joined: string,
  accuracyLevel: 0 | 4 = 4,
): Value | null {
  const whole = joinedPart(weights, parts, joined);
  return whole && product(op, weights, whole, x, shared(op, x), { biased: true, accuracyLevel });
}

/** Each part's bias, [out]; null if it has none. */
export function biasesOf(
  op: Ops,
  weights: WeightSource,
  parts: readonly TargetModule[],
  joined: string | null,
): (Value | null)[] {
  const whole = joinedPart(weights, parts, joined);
  const read = ({ path }: TargetModule): Value | null =>
    weights.has(`${path}.bias`) ? plainWeight(op.builder, weights, `${path}.bias`) : null;
  if (!whole) return parts.map(read);
  const bias = read(whole);
  const sizes = parts.map((part) => part.outFeatures);
  return bias ? op.split(bias, sizes, 0) : parts.map(() => null);
}

/** The biases of all parts side by side, [sum of out], zeros for a part without one; null if none has one. */
export function biasOf(
  op: Ops,
  weights: WeightSource,
  parts: readonly TargetModule[],
  joined: string | null,
  type: ElementType,
): Value | null {
  const read = (path: string): Value => op.cast(plainWeight(op.builder, weights, `${path}.bias`), type);
  const whole = joinedPart(weights, parts, joined);
  if (whole) return weights.has(`${whole.path}.bias`) ? read(whole.path) : null;
  if (!parts.some(({ path }) => weights.has(`${path}.bias`))) return null;
  const zeros = (count: number): Value =>
    op.cast(op.builder.constant("float32", [count], new Array<number>(count).fill(0)), type);
  const biases = parts.map(({ path, outFeatures }) => (weights.has(`${path}.bias`) ? read(path) : zeros(outFeatures)));
  return op.concat(biases, 0);
}

/** The joined layer of all parts; null if they are not joined. */
export function joinedPart(
  weights: WeightSource,
  parts: readonly TargetModule[],
  path: string | null,
): TargetModule | null {
  if (path === null || !weights.has(`${path}.weight`)) return null;
  const outFeatures = parts.reduce((sum, part) => sum + part.outFeatures, 0);
  return { path, inFeatures: at(parts, 0).inFeatures, outFeatures };
}

function product(
  op: Ops,
  weights: WeightSource,
  part: TargetModule,
  x: Value,
  rows: () => QuantizedRows,
  { biased, accuracyLevel }: ProductOptions,
): Value {
  const weight = weightOf(weights, `${part.path}.weight`);
  const biasName = `${part.path}.bias`;
  const bias = biased && weights.has(biasName) ? plainWeight(op.builder, weights, biasName) : null;
  switch (weight.form) {
    case "fp16":
    case "fp32": {
      const w = externalInitializer(op.builder, weight.name, weight.data, weight.shape);
      // A layer that the plan keeps precise is computed in its own type.
      const c = bias && op.cast(bias, w.type);
      return op.cast(op.gemm(op.cast(x, w.type), w, c, { transB: !weight.transposed }), x.type);
    }
    case "int4":
    case "int8":
      return blocks(op, weight, part, x, bias, accuracyLevel);
    case "int8row":
      return integer(op, weight, part, rows(), bias);
    case "raw": {
      const w = op.cast(externalInitializer(op.builder, weight.name, weight.data, weight.shape), x.type);
      return op.gemm(x, w, bias, { transB: !weight.transposed });
    }
  }
}

function scalesOf(op: Ops, weight: PreparedWeight, shape?: readonly number[]): Value {
  assert(weight.scales, `${weight.name} has scales`);
  return externalInitializer(op.builder, `${weight.name}.scales`, weight.scales, shape ?? weight.scales.shape);
}

function blocks(
  op: Ops,
  weight: PreparedWeight,
  part: TargetModule,
  x: Value,
  bias: Value | null,
  accuracyLevel: 0 | 4,
): Value {
  const data = externalInitializer(op.builder, weight.name, weight.data);
  return op.one(
    "MatMulNBits",
    [x, data, scalesOf(op, weight), null, null, bias],
    x.type,
    [at(x.shape, 0), part.outFeatures],
    {
      K: part.inFeatures,
      N: part.outFeatures,
      bits: weight.form === "int4" ? 4 : 8,
      block_size: blockSize,
      accuracy_level: accuracyLevel,
    },
    contrib,
  );
}

/** x as uint8 with one scale per row: (data - zero) * scale. */
export interface QuantizedRows {
  readonly data: Value;
  readonly scale: Value; // [rows, 1]
  readonly zero: number;
}

/** Quantizes x on first use, once for all readers. */
function shared(op: Ops, x: Value): () => QuantizedRows {
  let rows: QuantizedRows | null = null;
  return () => {
    rows ??= quantizeRows(op, x);
    return rows;
  };
}

const middle = 128;

/**
 * x as uint8 around 128 with one scale per row, so that a row does not depend on its neighbours. A row of zeros has scale 0:
 * its 0/0 becomes arbitrary integers, whose product is multiplied by 0.
 */
function quantizeRows(op: Ops, x: Value): QuantizedRows {
  const largest = op.reduce("ReduceMax", op.unary("Abs", x), [1]); // [tokens, 1]
  return quantizeBy(op, x, op.scale(largest, Math.fround(1 / 127)), middle);
}

/** x [rows, columns] as uint8 around `zero` by scales [rows, 1]. */
export function quantizeBy(op: Ops, x: Value, scale: Value, zero: number): QuantizedRows {
  // One block per row, so that scales keep the second axis, which the products need.
  const attributes = { axis: 1, block_size: x.shape[1] as number };
  const data = op.one("QuantizeLinear", [x, scale, zerosLike(op, scale, zero)], "uint8", x.shape, attributes);
  return { data, scale, zero };
}

/** The values of quantized rows, in float32. */
export function dequantize(op: Ops, { data, scale, zero }: QuantizedRows): Value {
  // Not in blocks, as in quantization: that kernel takes four times as long.
  const scales = op.squeeze(scale, 1);
  const zeros = zero === 0 ? null : op.squeeze(zerosLike(op, scale, zero), 1);
  return op.one("DequantizeLinear", [data, scales, zeros], "float32", data.shape, { axis: 0 });
}

const zeroPoint = ({ builder }: Ops, zero: number): Value =>
  builder.initializer(`quantized.zero.${zero}`, "uint8", [], { kind: "inline", bytes: Uint8Array.of(zero) });

/** Zero points by graph, number of rows and value: created on first use and shared by all layers. */
const zeros = new WeakMap<GraphBuilder, Map<string, Value>>();

/** The zero point of each row, [tokens, 1], like its scales. */
function zerosLike(op: Ops, scale: Value, zero: number): Value {
  const cached = zeros.get(op.builder) ?? new Map<string, Value>();
  zeros.set(op.builder, cached);
  const key = `${scale.shape[0]} ${zero}`;
  const value = cached.get(key) ?? op.one("Expand", [zeroPoint(op, zero), op.shapeOf(scale)], "uint8", scale.shape);
  cached.set(key, value);
  return value;
}

/** x Wᵀ + bias for a weight of the form `int8row`. */
export function integer(
  op: Ops,
  weight: PreparedWeight,
  part: TargetModule,
  x: QuantizedRows,
  bias: Value | null,
): Value {
  const w = externalInitializer(op.builder, weight.name, weight.data);
  const unit = op.builder.scalar("float32", 1);
  const y = op.one(
    "MatMulIntegerToFloat",
    [x.data, w, unit, scalesOf(op, weight), zeroPoint(op, x.zero), null],
    "float32",
    [at(x.data.shape, 0), part.outFeatures],
    {},
    contrib,
  );
  const scaled = op.mul(y, x.scale);
  return bias ? op.add(scaled, bias) : scaled;
}

/** Gathers rows of an embedding table: ids [n] to [n, hidden]. Rows of an int8 table are dequantized: (q - 128) * scale of the block. */
export function buildEmbedding(
  op: Ops,
  weights: WeightSource,
  name: string,
  ids: Value,
  type: FloatType = "float32",
): Value {
  const weight = weightOf(weights, name);
  const hidden = at(weight.shape, 1);
  if (weight.form !== "int8") {
    const table = externalInitializer(op.builder, name, weight.data, weight.shape);
    return op.cast(op.gather(table, ids), type);
  }
  const [vocab = 0, blockCount = 0, block = 0] = weight.data.shape;
  assert(weight.scales, `${name} has scales`);
  const table = externalInitializer(op.builder, `${name}.rows`, weight.data);
  const scales = externalInitializer(op.builder, `${name}.row_scales`, weight.scales, [vocab, blockCount, 1]);
  const q = op.cast(op.gather(table, ids), scales.type); // [tokens, blocks, block]
  const x = op.mul(op.sub(q, op.like(q, 128)), op.gather(scales, ids));
  const flat = op.reshape(x, [at(ids.shape, 0), blockCount * block]);
  return op.cast(blockCount * block === hidden ? flat : op.slice(flat, 1, 0, hidden), type);
}
