/** Writes the nodes of a block plan into a graph, with the products of adapted convolutions. */

import { assert } from "../../../base/errors.js";
import { valueAt } from "../../../base/list.js";
import type { Ops } from "../../../graph/ops.js";
import type { Attribute, Dim, Initializer, Node, Value } from "../../../graph/types.js";
import { type AdaptedNode, stackNames } from "../adapted-node.js";
import type { AdaptedOps } from "../adapted-ops.js";
import type { BlockedConvolution, BlockedOperator } from "./plan.js";
import type { Blocks } from "./weights.js";

/** ONNX Runtime's own operators over blocks. They take weights that are computed as well. */
export const blockedDomain = "com.microsoft.nchwc";

/** What a layer with gains or shifts adds up, in blocks. */
interface Terms {
  /** What the base computes; gains multiply it. */
  readonly first: Value;
  /** The same with the adapter's product. */
  readonly summed: Value;
  /** With gains alone: the base's own bias, and the other term of its sum, which they do not multiply. */
  readonly bias?: Value | null;
  readonly other?: Value | null;
}

/**
 * Each row's product is a group of channels of one convolution, as in `ChannelForm`. Its B adds to what the base computed, in place. A base's
 * convolution is always computed the same way, with an adapter or not.
 */
export class BlockedLayers {
  readonly #op: Ops;
  readonly #rowOps: AdaptedOps;
  readonly #blocks: Blocks;
  readonly #adapted: ReadonlyMap<Node, AdaptedNode>;
  /** By the name of the value that they hold in blocks. */
  readonly #inBlocks = new Map<string, Value>();

  constructor(op: Ops, rowOps: AdaptedOps, blocks: Blocks, adapted: readonly AdaptedNode[]) {
    this.#op = op;
    this.#rowOps = rowOps;
    this.#blocks = blocks;
    this.#adapted = new Map(adapted.map((item) => [item.target.node, item]));
  }

  write(): void {
    const { plan } = this.#blocks;
    for (const node of plan.nodes) {
      const { name, type, shape } = node.result;
      const y = this.#op.scope(`blocks.${name}`, () =>
        node.kind === "convolution" ? this.#convolution(node) : this.#operator(node),
      );
      this.#inBlocks.set(name, y);
      const channels = plan.values.get(name)?.channels;
      this.#op.builder.node("ReorderOutput", [y], [{ type, shape, name }], { channels }, blockedDomain);
    }
  }

  #blocked(value: Value): Value {
    const known = this.#inBlocks.get(value.name);
    if (known) return known;
    const reordered = this.#node("ReorderInput", [value], {}, blockedDomain);
    this.#inBlocks.set(value.name, reordered);
    return reordered;
  }

  #operator({ kind, node }: BlockedOperator): Value {
    const inputs = node.inputs.map((input) =>
      input && this.#blocks.plan.values.has(input.name) ? this.#blocked(input) : input,
    );
    const [x = null, other = null] = inputs;
    switch (kind) {
      case "pool":
        return this.#node(node.op, [x], node.attributes, blockedDomain);
      case "mean":
        return this.#node("GlobalAveragePool", [x], {}, blockedDomain);
      case "broadcast": {
        const [a, b] = node.inputs;
        assert(x && other && a && b, "a binary operator has two inputs");
        const { values } = this.#blocks.plan;
        const isFirstOne = values.get(a.name)?.size.join() === "1,1";
        const product = this.#node(node.op, [this.#byPosition(x, a), this.#byPosition(other, b)]);
        return this.#rowOps.reshaped(product, this.#rowOps.shape(isFirstOne ? other : x));
      }
      default:
        return this.#node(node.op, inputs, node.attributes);
    }
  }

  /** [rows, blocks, positions, block]: the order in memory as it is. `original`: the value that it holds. */
  #byPosition(y: Value, { name }: Value): Value {
    const { values, block } = this.#blocks.plan;
    return this.#positions(y, valueAt(values, name).padded / block);
  }

  #positions(y: Value, count: number): Value {
    return this.#rowOps.reshaped(y, this.#rowOps.ints(0, count, -1, this.#blocks.plan.block));
  }

  #convolution(convolution: BlockedConvolution): Value {
    const { target, sum, hasRelu, outputs, groups } = convolution;
    const own = valueAt(this.#blocks.weights, target.node);
    const adapted = this.#adapted.get(target.node);
    const [image] = target.node.inputs;
    assert(image, "a convolution has an input");
    const x = convolution.input === "plain" ? image : this.#blocked(image);
    const other = sum && this.#blocked(sum);
    const bias = own.bias && this.#constant(own.bias);
    const weight = this.#constant(own.weight);
    const attributes = { ...target.node.attributes, kernel_shape: [...target.kernel] };
    const base = (b: Value | null, added: Value | null, isLast: boolean): Value =>
      this.#convolved(x, weight, b, added, { ...attributes, group: groups }, hasRelu && isLast);
    if (!adapted) return base(bias, other, true);
    const { parts } = adapted;
    const isSimple = !parts.gain && !parts.shift;
    const first = parts.gain ? base(null, null, false) : base(bias, other, isSimple && !parts.product);
    const summed = parts.product ? this.#product(adapted, convolution, x, first, isSimple) : first;
    if (isSimple) return summed;
    const total = this.#withVectors(adapted, outputs, { first, summed, ...(parts.gain && { bias, other }) });
    return hasRelu ? this.#rowOps.node("Relu", [total]) : total;
  }

  /** The sum of a layer with gains or shifts. */
  #withVectors({ path, parts }: AdaptedNode, outputs: number, { first, summed, bias, other }: Terms): Value {
    const ops = this.#rowOps;
    const names = stackNames(path);
    const vector = (name: string): Value => this.#spread(ops.ofRows(name, [outputs]), outputs);
    const count = outputs / this.#blocks.plan.block;
    const terms = [this.#positions(summed, count)];
    if (parts.gain) terms.push(ops.node("Mul", [this.#positions(first, count), vector(names.gain)]));
    if (parts.shift) terms.push(vector(names.shift));
    if (bias) terms.push(this.#spread(ops.reshaped(bias, ops.ints(1, -1)), outputs));
    if (other) terms.push(this.#positions(other, count));
    const total = terms.reduce((left, right) => ops.node("Add", [left, right]));
    return ops.reshaped(total, ops.shape(first));
  }

  /** [rows, outputs] as a factor or a term of all positions. */
  #spread(rows: Value, outputs: number): Value {
    const { block } = this.#blocks.plan;
    return this.#rowOps.reshaped(rows, this.#rowOps.ints(this.#rowOps.isLone ? 1 : 0, outputs / block, 1, block));
  }

  /** `base` + B A x. */
  #product({ path }: AdaptedNode, convolution: BlockedConvolution, x: Value, base: Value, isLast: boolean): Value {
    const ops = this.#rowOps;
    const { target, inputs, outputs, hasRelu } = convolution;
    const names = stackNames(path);
    const { rows } = ops;
    const side = (value: Value, channels: number): Value =>
      rows === 1 ? value : ops.reshaped(value, ops.ints(1, channels, 0, 0));
    const filters = (name: string, entry: readonly Dim[], shape: readonly number[]): Value => {
      const found = ops.ofRows(name, entry);
      return ops.isLone ? found : ops.reshaped(found, ops.ints(...shape));
    };
    const rank = `rank.${path}`;
    const a = filters(names.a, [rank, inputs, ...target.kernel], [-1, inputs, ...target.kernel]);
    const attributes = { ...target.node.attributes, kernel_shape: [...target.kernel] };
    const low =
      convolution.input === "plain"
        ? this.#rowAfterRow(x, a, attributes)
        : this.#convolved(side(x, rows * inputs), a, null, null, { ...attributes, group: rows }, false);
    const b = filters(names.b, [outputs, rank, 1, 1], [rows * outputs, -1, 1, 1]);
    const pointwise = { kernel_shape: [1, 1], group: rows };
    const y = this.#convolved(low, b, null, side(base, rows * outputs), pointwise, hasRelu && isLast);
    if (rows === 1) return y;
    // A number of rows that ONNX Runtime knows would let it compute what follows otherwise than it does for one row.
    const shape = ops.once(`${x.name} to ${outputs}`, () => ops.joined(ops.shape(x, 0, 1), ops.ints(outputs, 0, 0)));
    return ops.reshaped(y, shape);
  }

  /** The kernel of images without blocks takes no groups that do not fill blocks, so rows run one after the other. */
  #rowAfterRow(x: Value, a: Value, attributes: Readonly<Record<string, Attribute | number | number[]>>): Value {
    const { rows } = this.#rowOps;
    const options = { ...attributes, group: 1 };
    if (rows === 1) return this.#convolved(x, a, null, null, options, false);
    const split = (value: Value): Value[] =>
      this.#op.builder.node(
        "Split",
        [value],
        Array.from({ length: rows }, () => ({ type: "float32" as const, shape: [] })),
        { axis: 0, num_outputs: rows },
      );
    const filters = split(a);
    const lows = split(x).map((row, i) => this.#convolved(row, filters[i] ?? a, null, null, options, false));
    return this.#node("Concat", lows, { axis: 1 });
  }

  #convolved(
    x: Value,
    weight: Value,
    bias: Value | null,
    sum: Value | null,
    attributes: Readonly<Record<string, Attribute | number | readonly number[]>>,
    hasRelu: boolean,
  ): Value {
    const activation = hasRelu ? { activation: "Relu" } : {};
    return this.#node("Conv", [x, weight, bias, sum], { ...attributes, ...activation }, blockedDomain);
  }

  #constant({ value, data }: Initializer): Value {
    return this.#op.builder.initializer(value.name, value.type, value.shape, data);
  }

  #node(
    op: string,
    inputs: readonly (Value | null)[],
    attributes: Readonly<Record<string, Attribute | number | string | readonly number[]>> = {},
    domain = "",
  ): Value {
    return this.#op.one(op, inputs, "float32", [], attributes, domain);
  }
}
