/** Operators over the parts of adapters: each row's, or those of the one row that a graph is built for. */

import { assert } from "../../base/errors.js";
import type { Ops } from "../../graph/ops.js";
import type { Attribute, Dim, Value } from "../../graph/types.js";
import type { RowLayout } from "./adapted-node.js";

/** The rows that a graph is built for: a number of them, any number, or one whose adapter's parts are inputs of their own instead of stacks. */
export type RowCount = number | "any" | "lone";

export class AdaptedOps {
  readonly #op: Ops;
  readonly #rows: RowCount;
  /** What layers share, by key. */
  readonly #shared = new Map<string, Value>();
  readonly #placesName: string;

  /** `placesName`: the input with each row's place. */
  constructor(op: Ops, placesName: string, rows: RowCount) {
    this.#op = op;
    this.#rows = rows;
    this.#placesName = placesName;
  }

  /** int64 [rows] */
  get places(): Value {
    assert(this.#rows !== "lone", "a lone row has no place");
    const rows = this.#rows === "any" ? "rows" : this.#rows;
    return this.once("places", () => this.#op.builder.input(this.#placesName, "int64", [rows]));
  }

  /** int64 [1]: the number of rows. */
  get count(): Value {
    return this.once("count", () => this.#op.shapeOf(this.places));
  }

  /** Whether the graph is built for one row, whose adapter's parts are its inputs. */
  get isLone(): boolean {
    return this.#rows === "lone";
  }

  /** A stack: an input with an entry of this shape for each place. */
  stack(name: string, entry: readonly Dim[]): Value {
    return this.once(name, () => this.#op.builder.input(name, "float32", ["places", ...entry]));
  }

  /** Each row's entry of a stack; the first row's alone where all have one adapter, and without an axis of rows for a lone row. */
  ofRows(name: string, entry: readonly Dim[], layout: RowLayout = "first"): Value {
    if (this.isLone) return this.#part(name);
    return this.node("Gather", [this.stack(name, entry), this.placesOf(layout)], { axis: 0 });
  }

  /**
   * A part of the lone row's adapter. Its shape stays open: ONNX Runtime would fuse operators around values whose shapes it knows, and round
   * otherwise than in a batch.
   */
  #part(name: string): Value {
    return this.once(name, () => this.#op.builder.input(name, "float32", null));
  }

  placesOf(layout: RowLayout): Value {
    if (layout !== "uniform") return this.places;
    return this.once("first place", () => this.node("Slice", [this.places, this.ints(0), this.ints(1)], {}, "int64"));
  }

  /** The number of rows that the graph is built for. Throws where it takes any. */
  get rows(): number {
    if (this.#rows === "lone") return 1;
    assert(this.#rows !== "any", "a graph with adapted convolutions is built for a number of rows");
    return this.#rows;
  }

  ints(...values: number[]): Value {
    return this.#op.builder.constant("int64", [values.length], values);
  }

  /** The output of an operator. Its shape stays open: nothing here reads it. */
  node(
    operator: string,
    inputs: readonly (Value | null)[],
    attributes: Readonly<Record<string, number | Attribute>> = {},
    type: "float32" | "int64" = "float32",
  ): Value {
    return this.#op.one(operator, inputs, type, [], attributes);
  }

  /** An operator whose output is `y`. */
  nodeFor(y: Value, operator: string, inputs: readonly (Value | null)[]): void {
    this.#op.builder.node(operator, inputs, [{ type: y.type, shape: y.shape, name: y.name }]);
  }

  joined(...parts: Value[]): Value {
    return this.node("Concat", parts, { axis: 0 }, "int64");
  }

  shape(of: Value, start = 0, end?: number): Value {
    return this.node("Shape", [of], { start, ...(end === undefined ? {} : { end }) }, "int64");
  }

  reshaped(x: Value, shape: Value): Value {
    return this.node("Reshape", [x, shape], {}, x.type === "int64" ? "int64" : "float32");
  }

  /** What `make` gave for this key the first time: layers share what they derive from the same value. */
  once(key: string, make: () => Value): Value {
    const known = this.#shared.get(key);
    if (known) return known;
    const value = make();
    this.#shared.set(key, value);
    return value;
  }
}
