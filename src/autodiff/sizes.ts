/** Sizes known only at run time, as tensors. They are read from the graph's inputs, so that no activation is kept for its shape. */
import { at } from "../base/list.js";
import type { Ops } from "../graph/ops.js";
import { broadcastShapes, sameShape } from "../graph/shape.js";
import type { Value } from "../graph/types.js";

export class Sizes {
  readonly #op: Ops;
  readonly #inputs: readonly Value[];
  readonly #known = new Map<string, Value>();

  constructor(op: Ops) {
    this.#op = op;
    this.#inputs = [...op.builder.inputs];
  }

  /** The shape of x as an int64 vector. */
  of(x: Value): Value {
    const { builder } = this.#op;
    if (x.shape.every((dim) => typeof dim === "number")) {
      return builder.constant("int64", [x.shape.length], x.shape.map(Number));
    }
    return this.#memo(x.shape.join(), () => {
      const dims = x.shape.map((dim) => this.#dim(dim));
      const parts = dims.filter((dim) => dim !== null);
      return parts.length < dims.length ? this.#op.shapeOf(x) : this.#op.concat(parts, 0);
    });
  }

  /** x in the shape of `like`, which has as many elements. */
  reshape(x: Value, like: Value): Value {
    if (sameShape(x.shape, like.shape)) return x;
    const unknown = like.shape.filter((dim, i) => typeof dim === "string" && dim !== x.shape[i]);
    if (unknown.length > 1) return this.#op.reshape(x, like.shape, this.of(like));
    const target = like.shape.map((dim, i) => (typeof dim === "number" ? dim : dim === x.shape[i] ? 0 : -1));
    return this.#op.reshape(x, like.shape, this.#op.builder.constant("int64", [target.length], target));
  }

  /** x broadcast to the shape of `like`. */
  expand(x: Value, like: Value): Value {
    if (sameShape(x.shape, like.shape)) return x;
    broadcastShapes(x.shape, like.shape, "Expand");
    return this.#op.expand(x, like.shape, this.of(like));
  }

  zeros(like: Value): Value {
    return this.expand(this.#op.like(like, 0), like);
  }

  /** The number of elements along `axes` of x, as a scalar of x's type. */
  count(x: Value, axes: readonly number[]): Value {
    const dims = axes.map((axis) => at(x.shape, axis));
    if (dims.every((dim) => typeof dim === "number")) {
      return this.#op.like(
        x,
        dims.reduce((n, dim) => n * dim, 1),
      );
    }
    const chosen = this.#op.gather(this.of(x), this.#op.builder.constant("int64", [axes.length], axes));
    return this.#op.cast(this.#op.one("ReduceProd", [chosen], "int64", [], { keepdims: 0 }), x.type);
  }

  /** One size as an int64 [1]; null if no input has it. */
  #dim(dim: number | string): Value | null {
    const { builder } = this.#op;
    if (typeof dim === "number") return builder.constant("int64", [1], [dim]);
    if (/^\d+$/.test(dim)) return this.#dim(Number(dim));
    const factors = dim.includes("*") ? dim.split("*").map((part) => this.#dim(part)) : [this.#named(dim)];
    return factors.reduce((a, b) => a && b && this.#memo(`*${a.name},${b.name}`, () => this.#op.mul(a, b)));
  }

  #named(name: string): Value | null {
    const input = this.#inputs.find(({ shape }) => shape.includes(name));
    if (!input) return null;
    const axis = input.shape.indexOf(name);
    return this.#memo(`dim ${name}`, () => this.#op.slice(this.#shapeOf(input), 0, axis, axis + 1));
  }

  #shapeOf(input: Value): Value {
    return this.#memo(`shape ${input.name}`, () => this.#op.shapeOf(input));
  }

  #memo(key: string, make: () => Value): Value {
    const known = this.#known.get(key) ?? make();
    this.#known.set(key, known);
    return known;
  }
}
