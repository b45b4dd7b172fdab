/** The operators around adapted layers: products, gains and shifts of each row's adapter, and layers that replace the base's. */

import { assert } from "../../base/errors.js";
import type { Ops } from "../../graph/ops.js";
import type { Attribute, Dim, Value } from "../../graph/types.js";
import { type AdaptedNode, type RowLayout, type StackNames, stackNames } from "./adapted-node.js";
import type { WeightedNode } from "./weighted-nodes.js";

export class AdaptedLayers {
  readonly #op: Ops;
  readonly #rows: number | null;
  readonly #made = new Map<string, Value>();
  /** int64 [rows] */
  readonly places: Value;
  /** int64 [1]: the number of rows. */
  readonly count: Value;

  /** `placesName`: the input with each row's place. `rows`: null for any number. */
  constructor(op: Ops, placesName: string, rows: number | null) {
    this.#op = op;
    this.#rows = rows;
    this.places = op.builder.input(placesName, "int64", [rows ?? "rows"]);
    this.count = op.shapeOf(this.places);
  }

  /** Adds a layer's parts to `base`, what its own node computes. The sum gets the name of `y`. */
  add({ path, target, layout, parts }: AdaptedNode, base: Value, y: Value): void {
    const names = stackNames(path);
    const isChannels = target.kind === "convolution" || target.channels !== undefined;
    const form = isChannels ? new Channels(this, target) : new Features(this, target, layout);
    const vector = (name: string): Value => form.vector(this.ofRows(name, [`out.${path}`], layout));
    const own = parts.whole ? form.whole(names.weight, path) : base;
    const named = [{ type: y.type, shape: y.shape, name: y.name }];
    if (!parts.whole && !parts.product && !parts.gain) {
      const shifted = this.some("Add", [form.blocks(base), vector(names.shift)]);
      this.#op.builder.node("Identity", [form.shaped(shifted, base)], named);
      return;
    }
    const sums: Value[] = parts.whole ? [form.blocks(own), vector(names.bias)] : [];
    if (parts.product) sums.push(form.product(names, path));
    if (parts.gain) sums.push(this.some("Mul", [form.blocks(own), vector(names.gain)]));
    if (parts.shift) sums.push(vector(names.shift));
    const sum = sums.reduce((left, right) => this.some("Add", [left, right]));
    const added = form.shaped(sum, own);
    const bias =
      parts.gain && !parts.whole && target.bias?.add === null ? form.ownBias(target.bias.values.value) : null;
    const last = parts.whole ? added : this.some("Add", [base, added]);
    this.#op.builder.node(bias ? "Add" : "Identity", bias ? [last, bias] : [last], named);
  }

  /** A stack: an input with an entry of this shape for each place. */
  stack(name: string, entry: readonly Dim[]): Value {
    return this.once(name, () => this.#op.builder.input(name, "float32", ["places", ...entry]));
  }

  /** Each row's entry of a stack; the first row's alone where all have one adapter. */
  ofRows(name: string, entry: readonly Dim[], layout: RowLayout = "first"): Value {
    return this.some("Gather", [this.stack(name, entry), this.placesOf(layout)], { axis: 0 });
  }

  placesOf(layout: RowLayout): Value {
    if (layout !== "uniform") return this.places;
    return this.once("first place", () => this.some("Slice", [this.places, this.ints(0), this.ints(1)], {}, "int64"));
  }

  /** The number of rows, where the graph is made for one. */
  get rows(): number {
    assert(this.#rows !== null, "a graph with adapted convolutions is made for a number of rows");
    return this.#rows;
  }

  ints(...values: number[]): Value {
    return this.#op.builder.constant("int64", [values.length], values);
  }

  /** An operator. Nothing here reads the shape of its output. */
  some(
    operator: string,
    inputs: readonly (Value | null)[],
    attributes: Readonly<Record<string, number | Attribute>> = {},
    type: "float32" | "int64" = "float32",
  ): Value {
    return this.#op.one(operator, inputs, type, [], attributes);
  }

  joined(...parts: Value[]): Value {
    return this.some("Concat", parts, { axis: 0 }, "int64");
  }

  shape(of: Value, start = 0, end?: number): Value {
    return this.some("Shape", [of], { start, ...(end === undefined ? {} : { end }) }, "int64");
  }

  reshaped(x: Value, shape: Value): Value {
    return this.some("Reshape", [x, shape], {}, x.type === "int64" ? "int64" : "float32");
  }

  /** What `make` gave for this key the first time: layers share what they derive from the same value. */
  once(key: string, make: () => Value): Value {
    const known = this.#made.get(key);
    if (known) return known;
    const made = make();
    this.#made.set(key, made);
    return made;
  }
}

/** How a layer's parts are computed and added up: in blocks, with the rows in front. */
interface Form {
  /** A value of the shape of the layer's output, in blocks. */
  blocks(y: Value): Value;
  /** B A x, in blocks. */
  product(names: StackNames, path: string): Value;
  /** What each row's own layer computes, without its bias, in the shape of an output. */
  whole(weight: string, path: string): Value;
  /** [rows, out], to be added to blocks. */
  vector(rows: Value): Value;
  /** Blocks in the shape of `y`. */
  shaped(blocks: Value, y: Value): Value;
  /** The base's own bias, to be added to an output. */
  ownBias(bias: Value): Value;
}

/** Linear layers and tables: blocks are [rows, positions, features]. */
class Features implements Form {
  readonly #layers: AdaptedLayers;
  readonly #target: WeightedNode;
  readonly #layout: RowLayout;

  constructor(layers: AdaptedLayers, target: WeightedNode, layout: RowLayout) {
    this.#layers = layers;
    this.#target = target;
    this.#layout = layout;
  }

  get #x(): Value {
    const x = this.#target.node.inputs[this.#target.kind === "table" ? 1 : 0];
    assert(x, "a layer has an input");
    return x;
  }

  blocks(y: Value): Value {
    return this.#inBlocks(y, this.#layers.shape(y, -1));
  }

  product(names: StackNames, path: string): Value {
    const layers = this.#layers;
    const a = [this.#target.inFeatures, `rank.${path}`];
    const low =
      this.#target.kind === "table"
        ? this.#lookedUp(layers.stack(names.a, a))
        : layers.some("MatMul", [this.#inputBlocks(), layers.ofRows(names.a, a, this.#layout)]);
    return layers.some("MatMul", [low, layers.ofRows(names.b, [`rank.${path}`, `out.${path}`], this.#layout)]);
  }

  whole(weight: string, path: string): Value {
    const layers = this.#layers;
    const entry = [this.#target.inFeatures, `out.${path}`];
    const isTable = this.#target.kind === "table";
    const blocks = isTable
      ? this.#lookedUp(layers.stack(weight, entry))
      : layers.some("MatMul", [this.#inputBlocks(), layers.ofRows(weight, entry, this.#layout)]);
    const outer = isTable ? layers.shape(this.#x) : layers.shape(this.#x, 0, -1);
    return this.#inShape(blocks, layers.joined(outer, layers.ints(-1)));
  }

  vector(rows: Value): Value {
    return this.#layers.some("Unsqueeze", [rows, this.#layers.ints(1)]);
  }

  shaped(blocks: Value, y: Value): Value {
    return this.#inShape(blocks, this.#layers.shape(y));
  }

  ownBias(bias: Value): Value {
    return bias;
  }

  /** Where every row has the same input, the outputs differ: their first axis of 1 becomes the rows'. */
  #inShape(blocks: Value, shape: Value): Value {
    const layers = this.#layers;
    if (this.#layout === "first" || this.#layout === "uniform") return layers.reshaped(blocks, shape);
    if (this.#layout === "second") return layers.reshaped(this.#turned(blocks), shape);
    const inner = layers.some("Slice", [shape, layers.ints(1), layers.ints(64)], {}, "int64");
    return layers.reshaped(blocks, layers.joined(layers.count, inner));
  }

  #inputBlocks(): Value {
    const { inFeatures } = this.#target;
    const key = `${this.#x.name} ${this.#layout}`;
    return this.#layers.once(key, () => this.#inBlocks(this.#x, this.#layers.ints(inFeatures)));
  }

  #inBlocks(x: Value, width: Value): Value {
    const layers = this.#layers;
    const any = layers.ints(-1);
    if (this.#layout === "second") return this.#turned(layers.reshaped(x, layers.joined(any, layers.count, width)));
    return layers.reshaped(x, layers.joined(this.#rowsIn(x), any, width));
  }

  #rowsIn(x: Value): Value {
    if (this.#layout === "uniform") return this.#layers.ints(1);
    return this.#layout === "none" ? this.#leading(x) : this.#layers.count;
  }

  /** 1, or the number of rows after another adapted layer. */
  #leading(x: Value): Value {
    return this.#layers.shape(x, 0, 1);
  }

  #turned(blocks: Value): Value {
    return this.#layers.some("Transpose", [blocks], { perm: { kind: "ints", value: [1, 0, 2] } });
  }

  /** Entries of a stack of tables, by place and id: [rows, positions, width]. */
  #lookedUp(stack: Value): Value {
    const layers = this.#layers;
    const size = this.#target.inFeatures;
    const flat = layers.reshaped(stack, layers.joined(layers.ints(-1), layers.shape(stack, 2)));
    const index = layers.once(`${this.#x.name} ${this.#layout} in tables of ${size}`, () => {
      const ids = layers.some("Cast", [this.#x], { to: 7 }, "int64");
      const rows = this.#layout === "none" || this.#layout === "uniform" ? layers.ints(1) : layers.count;
      const byRow = layers.reshaped(ids, layers.joined(rows, layers.ints(-1)));
      // Ids may count from the end.
      const counted = layers.some("Mod", [byRow, layers.ints(size)], {}, "int64");
      const first = layers.some("Mul", [layers.placesOf(this.#layout), layers.ints(size)], {}, "int64");
      return layers.some("Add", [counted, layers.some("Unsqueeze", [first, layers.ints(1)], {}, "int64")], {}, "int64");
    });
    return layers.some("Gather", [flat, index], { axis: 0 });
  }
}

/** Convolutions: blocks are [rows, out, positions]. All rows are one convolution, with a group of channels for each. */
class Channels implements Form {
  readonly #layers: AdaptedLayers;
  readonly #target: WeightedNode;

  constructor(layers: AdaptedLayers, target: WeightedNode) {
    this.#layers = layers;
    this.#target = target;
  }

  blocks(y: Value): Value {
    const layers = this.#layers;
    return layers.reshaped(y, layers.joined(layers.shape(y, 0, 2), layers.ints(-1)));
  }

  /** PEFT's A has the kernel, strides and padding of the base, without its groups. */
  product(names: StackNames, path: string): Value {
    const layers = this.#layers;
    const { inFeatures, kernel } = this.#target;
    const stack = layers.ofRows(names.a, [`rank.${path}`, inFeatures, ...kernel]);
    const weight = layers.reshaped(stack, layers.ints(-1, inFeatures, ...kernel));
    const low = this.#convolved(weight, layers.rows);
    const ranks = layers.joined(layers.count, layers.shape(stack, 1, 2), layers.ints(-1));
    const b = layers.ofRows(names.b, [`out.${path}`, `rank.${path}`]);
    return layers.some("MatMul", [b, layers.reshaped(low, ranks)]);
  }

  whole(weight: string, path: string): Value {
    const layers = this.#layers;
    const { inFeatures, groups, kernel } = this.#target;
    const entry = [inFeatures / groups, ...kernel];
    const stack = layers.ofRows(weight, [`out.${path}`, ...entry]);
    const y = this.#convolved(layers.reshaped(stack, layers.ints(-1, ...entry)), layers.rows * groups);
    return layers.reshaped(y, layers.joined(layers.count, layers.ints(-1), layers.shape(y, 2)));
  }

  vector(rows: Value): Value {
    return this.#layers.some("Unsqueeze", [rows, this.#layers.ints(2)]);
  }

  shaped(blocks: Value, y: Value): Value {
    return this.#layers.reshaped(blocks, this.#layers.shape(y));
  }

  ownBias(bias: Value): Value {
    return this.#layers.reshaped(bias, this.#layers.ints(1, -1, ...this.#target.kernel.map(() => 1)));
  }

  #convolved(weight: Value, groups: number): Value {
    const layers = this.#layers;
    const { node, inFeatures } = this.#target;
    const [x] = node.inputs;
    assert(x, "a convolution has an input");
    const beside = layers.once(`${x.name} side by side`, () =>
      layers.reshaped(x, layers.joined(layers.ints(1, layers.rows * inFeatures), layers.shape(x, 2))),
    );
    return layers.some("Conv", [beside, weight], { ...node.attributes, group: { kind: "int", value: groups } });
  }
}
