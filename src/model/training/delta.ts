/**
 * Linear attention by the gated delta rule over whole rows, as differentiable products. With g the logarithms of the decays and G their
 * cumulative sums, the corrections u of all tokens solve a triangular system: u_t = β_t (v_t - Σ_{i<t} exp(G_t - G_i) (k_t·k_i) u_i).
 */
import { at } from "../../base/list.js";
import { float } from "../../graph/builder.js";
import type { Ops } from "../../graph/ops.js";
import { dimProduct } from "../../graph/shape.js";
import type { Value } from "../../graph/types.js";
import type { GatedDelta } from "../blueprint.js";

/** Added to hidden entries: its exponential is 0. */
const hidden = -1e30;
/** Systems up to this size are solved by a product of powers. In larger ones powers could grow beyond what float32 can cancel. */
const smallest = 16;

export interface DeltaInputs {
  /** int64 [rows, length]. */
  readonly segments: Value;
}

/** Each token's decay and correction rate before their activations, [tokens, valueHeads]. */
export interface DeltaTerms {
  readonly logDecay: Value;
  readonly rate: Value;
}

export class TrainingDelta {
  readonly #op: Ops;
  /** Rows are padded at the front to a power of two. */
  readonly #size: number;
  /** int64, created outside of any layer: rows and length; the padding of a row, and its padded length. */
  readonly #shape: Value;
  readonly #parts: Value;
  /** Whether a token sees another: same segment, not later; bool [rows, 1, size, size]. */
  readonly #seen: Value;

  constructor(op: Ops, { segments }: DeltaInputs, maxLength: number) {
    this.#op = op;
    this.#size = Math.max(smallest, 2 ** Math.ceil(Math.log2(maxLength)));
    this.#shape = op.shapeOf(segments);
    const length = op.slice(this.#shape, 0, 1, 2);
    this.#parts = op.concat([op.sub(op.like(length, this.#size), length), length], 0);
    const own = this.#filled(segments, -1);
    const same = op.compare("Equal", op.unsqueeze(own, 2), op.unsqueeze(own, 1));
    const place = op.builder.constant(
      "int64",
      [this.#size],
      Array.from({ length: this.#size }, (_, i) => i),
    );
    const before = op.compare("GreaterOrEqual", op.unsqueeze(place, 1), op.unsqueeze(place, 0));
    this.#seen = op.unsqueeze(op.binary("And", same, before), 1);
  }

  /** `mixed` [tokens, channels] to [tokens, valueHeads*valueDim]. */
  apply(delta: GatedDelta, mixed: Value, terms: DeltaTerms): Value {
    const op = this.#op;
    const { keyHeads, valueHeads, keyDim, valueDim } = delta;
    const [keys, width] = [keyHeads * keyDim, valueHeads * valueDim];
    const [q, k, v] = op.split(this.#rows(mixed), [keys, keys, width], 2) as [Value, Value, Value];
    const value = this.#heads(v, valueHeads);
    const key = this.#unit(this.#heads(k, keyHeads));
    const query = this.#unit(this.#heads(q, keyHeads));
    const rate = this.#heads(this.#rows(terms.rate), valueHeads); // [rows, valueHeads, size, 1]
    const decays = this.#decays(this.#heads(this.#rows(terms.logDecay), valueHeads));
    const turned = op.transpose(key, [0, 1, 3, 2]);
    const alike = this.#spread(op.matMul(key, turned), valueHeads);
    const system = op.mul(op.mul(op.mul(alike, decays), this.#strict()), rate);
    const corrections = op.matMul(this.#inverse(system), op.mul(value, rate));
    const asked = op.matMul(op.scale(query, 1 / Math.sqrt(keyDim)), turned);
    const found = op.matMul(op.mul(this.#spread(asked, valueHeads), decays), corrections);
    return this.#tokens(found, width);
  }

  /** [tokens, width] as padded rows [rows, size, width]. */
  #rows(x: Value): Value {
    const op = this.#op;
    const width = Number(at(x.shape, 1));
    const shape = op.concat([this.#shape, op.builder.constant("int64", [1], [width])], 0);
    return this.#filled(op.reshape(x, ["rows", "length", width], shape), 0);
  }

  /** Pads each row at the front with `fill`, up to the size. */
  #filled(x: Value, fill: number): Value {
    const op = this.#op;
    const list = (value: number): Value => op.builder.constant("int64", [1], [value]);
    const size = this.#size;
    const longer = op.pad(x, 1, size, 0, `length+${size}`, fill);
    return op.one("Slice", [longer, list(-size), list(2 ** 31 - 1), list(1)], x.type, x.shape.with(1, size));
  }

  /** [rows, size, heads*dim] to [rows, heads, size, dim]. */
  #heads(x: Value, heads: number): Value {
    const width = Number(at(x.shape, 2));
    return this.#op.transpose(this.#op.reshape(x, ["rows", this.#size, heads, width / heads]), [0, 2, 1, 3]);
  }

  /** Normalizes to length 1: x / sqrt(|x|² + 1e-6). */
  #unit(x: Value): Value {
    const size = Number(at(x.shape, 3));
    const gain = this.#op.expand(this.#op.like(x, 1 / Math.sqrt(size)), [size]);
    const outputs = [
      { type: x.type, shape: x.shape },
      { type: x.type, shape: x.shape.with(-1, 1) },
    ];
    const attributes = { epsilon: float(1e-6 / size) };
    return at(this.#op.builder.node("SimplifiedLayerNormalization", [x, gain], outputs, attributes), 0);
  }

  /** Cumulative decay from each token that is seen to the one that sees it: log decays [rows, heads, size, 1] to [rows, heads, size, size]. */
  #decays(logs: Value): Value {
    const op = this.#op;
    const sums = op.matMul(this.#lower(0), logs);
    const between = op.sub(sums, op.transpose(sums, [0, 1, 3, 2]));
    return op.exp(op.where(this.#seen, between, op.like(between, hidden)));
  }

  /** Products of key heads for the value heads that share them. */
  #spread(x: Value, valueHeads: number): Value {
    const op = this.#op;
    const heads = Number(at(x.shape, 1));
    if (heads === valueHeads) return x;
    const size = this.#size;
    const group = valueHeads / heads;
    const apart = op.expand(op.unsqueeze(x, 2), ["rows", heads, group, size, size]);
    return op.reshape(apart, ["rows", valueHeads, size, size]);
  }

  /** Ones on and below a diagonal, [size, size]. */
  #lower(diagonal: number): Value {
    const size = this.#size;
    const ones = Array.from({ length: size * size }, (_, i) => (i % size <= Math.floor(i / size) + diagonal ? 1 : 0));
    return this.#op.builder.constant("float32", [size, size], ones);
  }

  #strict = (): Value => this.#lower(-1);

  /** The inverse of I + x, for strictly lower triangular x [rows, heads, size, size]. */
  #inverse(x: Value): Value {
    return this.#op.squeeze(this.#inverses(this.#op.unsqueeze(x, 0)), 0);
  }

  /** The inverses of a stack, [count, rows, heads, size, size]: by halves, whose inverses are computed together. */
  #inverses(x: Value): Value {
    const op = this.#op;
    const [count, , , size] = x.shape.map(Number) as [number, number, number, number];
    if (size === smallest) return this.#smallInverses(x);
    const half = size / 2;
    const part = (row: number, column: number): Value =>
      op.slice(op.slice(x, 3, row * half, (row + 1) * half), 4, column * half, (column + 1) * half);
    const [upper, lower] = op.split(this.#inverses(op.concat([part(0, 0), part(1, 1)], 0)), [count, count], 0) as [
      Value,
      Value,
    ];
    const corner = op.neg(op.matMul(lower, op.matMul(part(1, 0), upper)));
    const zeros = op.scale(corner, 0);
    return op.concat([op.concat([upper, zeros], 4), op.concat([corner, lower], 4)], 3);
  }

  /** (I - x)(I + x²)(I + x⁴)(I + x⁸), since x¹⁶ is 0. */
  #smallInverses(x: Value): Value {
    const op = this.#op;
    let power = x;
    let inverse = op.sub(this.#identity(), x);
    for (let n = 2; n < smallest; n *= 2) {
      power = op.matMul(power, power);
      inverse = op.add(inverse, op.matMul(inverse, power));
    }
    return inverse;
  }

  #identity(): Value {
    const ones = Array.from({ length: smallest ** 2 }, (_, i) => (i % (smallest + 1) === 0 ? 1 : 0));
    return this.#op.builder.constant("float32", [smallest, smallest], ones);
  }

  /** [rows, heads, size, dim] to [tokens, width]. */
  #tokens(x: Value, width: number): Value {
    const op = this.#op;
    const turned = op.reshape(op.transpose(x, [0, 2, 1, 3]), ["rows", this.#size, width]);
    const outputs = ["filled", "length"].map((length) => ({ type: x.type, shape: ["rows", length, width] }));
    const [, own] = op.builder.node("Split", [turned, this.#parts], outputs, { axis: 1 }) as [Value, Value];
    return op.reshape(own, [dimProduct(["rows", "length"]), width], op.builder.constant("int64", [2], [-1, width]));
  }
}
