/** How an adapter's parts are computed and added to what a layer computes for a batch of rows. */

import { assert } from "../../base/errors.js";
import type { Value } from "../../graph/types.js";
import type { RowLayout, StackNames } from "./adapted-node.js";
import type { AdaptedOps } from "./adapted-ops.js";
import type { WeightedNode } from "./weighted-nodes.js";

/** How a layer's parts are computed, and added up with the rows on the first axis. */
export interface Form {
  /** A value of the shape of the layer's output, by row. */
  byRow(y: Value): Value;
  /** B A x, by row. */
  product(names: StackNames, path: string): Value;
  /** What each row's own layer computes, without its bias, in the shape of an output. */
  whole(weight: string, path: string): Value;
  /** [rows, out], to be added to values by row. */
  vector(rows: Value): Value;
  /** Values by row, in the shape of `y`. */
  shaped(values: Value, y: Value): Value;
  /** The base's own bias, to be added to an output. */
  ownBias(bias: Value): Value;
}

/** Linear layers and tables: by row, values are [rows, positions, features]. */
export class FeatureForm implements Form {
  readonly #ops: AdaptedOps;
  readonly #target: WeightedNode;
  readonly #layout: RowLayout;

  constructor(ops: AdaptedOps, target: WeightedNode, layout: RowLayout) {
    this.#ops = ops;
    this.#target = target;
    this.#layout = layout;
  }

  get #x(): Value {
    const x = this.#target.node.inputs[this.#target.kind === "table" ? 1 : 0];
    assert(x, "a layer has an input");
    return x;
  }

  byRow(y: Value): Value {
    return this.#splitByRow(y, this.#ops.shape(y, -1));
  }

  product(names: StackNames, path: string): Value {
    const ops = this.#ops;
    const a = [this.#target.inFeatures, `rank.${path}`];
    const low =
      this.#target.kind === "table"
        ? this.#lookedUp(ops.stack(names.a, a))
        : ops.node("MatMul", [this.#inputByRow(), ops.ofRows(names.a, a, this.#layout)]);
    return ops.node("MatMul", [low, ops.ofRows(names.b, [`rank.${path}`, `out.${path}`], this.#layout)]);
  }

  whole(weight: string, path: string): Value {
    const ops = this.#ops;
    const entry = [this.#target.inFeatures, `out.${path}`];
    const isTable = this.#target.kind === "table";
    const values = isTable
      ? this.#lookedUp(ops.stack(weight, entry))
      : ops.node("MatMul", [this.#inputByRow(), ops.ofRows(weight, entry, this.#layout)]);
    const outer = isTable ? ops.shape(this.#x) : ops.shape(this.#x, 0, -1);
    return this.#inShape(values, ops.joined(outer, ops.ints(-1)));
  }

  vector(rows: Value): Value {
    return this.#ops.node("Unsqueeze", [rows, this.#ops.ints(1)]);
  }

  shaped(values: Value, y: Value): Value {
    return this.#inShape(values, this.#ops.shape(y));
  }

  ownBias(bias: Value): Value {
    return bias;
  }

  /** Where every row has the same input, the outputs differ: their first axis of 1 becomes the rows'. */
  #inShape(values: Value, shape: Value): Value {
    const ops = this.#ops;
    if (this.#layout === "first" || this.#layout === "uniform") return ops.reshaped(values, shape);
    if (this.#layout === "second") return ops.reshaped(this.#transposed(values), shape);
    const inner = ops.node("Slice", [shape, ops.ints(1), ops.ints(64)], {}, "int64");
    return ops.reshaped(values, ops.joined(ops.count, inner));
  }

  #inputByRow(): Value {
    const { inFeatures } = this.#target;
    const key = `${this.#x.name} ${this.#layout}`;
    return this.#ops.once(key, () => this.#splitByRow(this.#x, this.#ops.ints(inFeatures)));
  }

  #splitByRow(x: Value, width: Value): Value {
    const ops = this.#ops;
    const any = ops.ints(-1);
    if (this.#layout === "second") return this.#transposed(ops.reshaped(x, ops.joined(any, ops.count, width)));
    return ops.reshaped(x, ops.joined(this.#rowsIn(x), any, width));
  }

  #rowsIn(x: Value): Value {
    if (this.#layout === "uniform") return this.#ops.ints(1);
    return this.#layout === "shared" ? this.#leading(x) : this.#ops.count;
  }

  /** 1, or the number of rows after another adapted layer. */
  #leading(x: Value): Value {
    return this.#ops.shape(x, 0, 1);
  }

  #transposed(values: Value): Value {
    return this.#ops.node("Transpose", [values], { perm: { kind: "ints", value: [1, 0, 2] } });
  }

  /** Entries of a stack of tables, by place and id: [rows, positions, width]. */
  #lookedUp(stack: Value): Value {
    const ops = this.#ops;
    const size = this.#target.inFeatures;
    const flat = ops.reshaped(stack, ops.joined(ops.ints(-1), ops.shape(stack, 2)));
    const index = ops.once(`${this.#x.name} ${this.#layout} in tables of ${size}`, () => {
      const ids = ops.node("Cast", [this.#x], { to: 7 }, "int64");
      const rows = this.#layout === "shared" || this.#layout === "uniform" ? ops.ints(1) : ops.count;
      const byRow = ops.reshaped(ids, ops.joined(rows, ops.ints(-1)));
      // Ids may count from the end.
      const counted = ops.node("Mod", [byRow, ops.ints(size)], {}, "int64");
      const first = ops.node("Mul", [ops.placesOf(this.#layout), ops.ints(size)], {}, "int64");
      return ops.node("Add", [counted, ops.node("Unsqueeze", [first, ops.ints(1)], {}, "int64")], {}, "int64");
    });
    return ops.node("Gather", [flat, index], { axis: 0 });
  }
}

/** What the forms of convolutions share, whether a graph has one row or several. */
export abstract class ConvolutionForm {
  protected readonly ops: AdaptedOps;
  protected readonly target: WeightedNode;

  constructor(ops: AdaptedOps, target: WeightedNode) {
    this.ops = ops;
    this.target = target;
  }

  protected get x(): Value {
    const [x] = this.target.node.inputs;
    assert(x, "a convolution has an input");
    return x;
  }

  shaped(values: Value, y: Value): Value {
    return this.ops.reshaped(values, this.ops.shape(y));
  }

  ownBias(bias: Value): Value {
    return this.ops.reshaped(bias, this.ops.ints(1, -1, ...this.target.kernel.map(() => 1)));
  }
}

/** Convolutions: by row, values are [rows, out, positions]. All rows are one convolution, with a group of channels for each. */
export class ChannelForm extends ConvolutionForm implements Form {
  byRow(y: Value): Value {
    const ops = this.ops;
    return ops.reshaped(y, ops.joined(ops.shape(y, 0, 2), ops.ints(-1)));
  }

  /** PEFT's A has the kernel, strides and padding of the base, without its groups. */
  product(names: StackNames, path: string): Value {
    const ops = this.ops;
    const { inFeatures, kernel } = this.target;
    const stack = ops.ofRows(names.a, [`rank.${path}`, inFeatures, ...kernel]);
    const weight = ops.reshaped(stack, ops.ints(-1, inFeatures, ...kernel));
    const low = this.#convolved(weight, ops.rows);
    const ranks = ops.joined(ops.count, ops.shape(stack, 1, 2), ops.ints(-1));
    const b = ops.ofRows(names.b, [`out.${path}`, `rank.${path}`]);
    return ops.node("MatMul", [b, ops.reshaped(low, ranks)]);
  }

  whole(weight: string, path: string): Value {
    const ops = this.ops;
    const { inFeatures, groups, kernel } = this.target;
    const entry = [inFeatures / groups, ...kernel];
    const stack = ops.ofRows(weight, [`out.${path}`, ...entry]);
    const y = this.#convolved(ops.reshaped(stack, ops.ints(-1, ...entry)), ops.rows * groups);
    return ops.reshaped(y, ops.joined(ops.count, ops.ints(-1), ops.shape(y, 2)));
  }

  vector(rows: Value): Value {
    return this.ops.node("Unsqueeze", [rows, this.ops.ints(2)]);
  }

  #convolved(weight: Value, groups: number): Value {
    const ops = this.ops;
    const { x } = this;
    const { node, inFeatures } = this.target;
    const beside = ops.once(`${x.name} side by side`, () =>
      ops.reshaped(x, ops.joined(ops.ints(1, ops.rows * inFeatures), ops.shape(x, 2))),
    );
    return ops.node("Conv", [beside, weight], { ...node.attributes, group: { kind: "int", value: groups } });
  }
}
