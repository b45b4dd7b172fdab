/**
 * Which nodes of a graph run on images whose channels lie in blocks, as ONNX Runtime's fast convolutions want them. ONNX Runtime rearranges
 * a graph so by itself, but only around constant weights: between two adapted convolutions it would go back and forth.
 */

import { bodyNames } from "../../../graph/prune.js";
import type { Graph, Initializer, Node, Value } from "../../../graph/types.js";
import type { TaskModule } from "../target-modules.js";
import { findWeightedNodes, type WeightedNode } from "../weighted-nodes.js";
import { padded } from "./filters.js";

/** A convolution, with what is added to its output and the activation after it. */
export interface BlockedConvolution {
  readonly kind: "convolution";
  readonly target: WeightedNode;
  /** "plain": an image of fewer channels than a block, as it is. */
  readonly input: "blocked" | "plain";
  /** Channels that it reads and computes, padded. */
  readonly inputs: number;
  readonly outputs: number;
  readonly groups: number;
  readonly sum: Value | null;
  readonly hasRelu: boolean;
  /** What its last part computes. */
  readonly result: Value;
}

/** An operator that treats all elements alike, or one with a kernel for blocks. */
export interface BlockedOperator {
  readonly kind: "operator" | "pool" | "mean" | "broadcast";
  readonly node: Node;
  readonly result: Value;
}

export type BlockedNode = BlockedConvolution | BlockedOperator;

/** A value in blocks. */
export interface BlockedValue {
  readonly channels: number;
  readonly padded: number;
  /** The value that its rows come from, and its height and width as computed from that one's. */
  readonly origin: string;
  readonly size: readonly [string, string];
}

export interface BlockPlan {
  readonly block: number;
  /** In an order in which they can run. */
  readonly nodes: readonly BlockedNode[];
  readonly convolutions: ReadonlyMap<Node, BlockedConvolution>;
  readonly values: ReadonlyMap<string, BlockedValue>;
  /** Nodes that became part of a convolution. */
  readonly absorbed: ReadonlySet<Node>;
}

/** `block`: channels of a block of this CPU. null: the graph has no convolution to run in blocks. */
export function planBlocks(graph: Graph, modules: readonly TaskModule[], block: number): BlockPlan | null {
  const left = new Set<Node>();
  for (;;) {
    const plan = new Planner(graph, block, left).plan();
    // An adapter has one copy for all uses of its module, so they must read it in the same order.
    const uneven = modules.filter((module) => module.kind === "convolution" && !isEven(module, plan));
    if (uneven.length === 0) return plan.convolutions.size > 0 ? plan : null;
    for (const { uses } of uneven) for (const { target } of uses) left.add(target.node);
  }
}

function isEven({ uses }: TaskModule, { convolutions }: BlockPlan): boolean {
  const forms = uses.map(({ target }) => {
    const found = convolutions.get(target.node);
    return found ? `${found.input} ${found.inputs}` : null;
  });
  return new Set(forms).size === 1;
}

/** These give a finite number for the zeros that pad a block. */
const elementwise: ReadonlySet<string> = new Set(
  "Relu LeakyRelu Sigmoid Tanh HardSigmoid HardSwish Elu Softplus Mish Gelu Erf Clip Neg Abs Identity Add Sub Mul".split(
    " ",
  ),
);
const pools: ReadonlySet<string> = new Set(["MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool"]);

class Planner {
  readonly #graph: Graph;
  readonly #block: number;
  readonly #left: ReadonlySet<Node>;
  readonly #convolutions: ReadonlyMap<Node, WeightedNode>;
  readonly #initializers: ReadonlyMap<string, Initializer>;
  /** The nodes that read a value. null: something else reads it as well. */
  readonly #readers = new Map<string, Node[] | null>();
  readonly #values = new Map<string, BlockedValue>();
  readonly #absorbed = new Set<Node>();

  constructor(graph: Graph, block: number, left: ReadonlySet<Node>) {
    this.#graph = graph;
    this.#block = block;
    this.#left = left;
    const targets = findWeightedNodes(graph).filter(({ kind }) => kind === "convolution");
    this.#convolutions = new Map(targets.map((target) => [target.node, target]));
    this.#initializers = new Map(graph.initializers.map((item) => [item.value.name, item]));
    for (const node of graph.nodes) {
      for (const input of node.inputs) {
        if (!input) continue;
        const readers = this.#readers.get(input.name);
        if (readers) readers.push(node);
        else if (readers === undefined) this.#readers.set(input.name, [node]);
      }
      for (const name of bodyNames(node.attributes)) this.#readers.set(name, null);
    }
    for (const { name } of graph.outputs) this.#readers.set(name, null);
  }

  plan(): BlockPlan {
    const nodes: BlockedNode[] = [];
    for (const node of this.#graph.nodes) {
      if (node.domain !== "" || this.#absorbed.has(node) || this.#left.has(node)) continue;
      const found = this.#convolution(node) ?? this.#pool(node) ?? this.#operator(node);
      if (found) nodes.push(found);
    }
    const convolutions = nodes.flatMap((node) => (node.kind === "convolution" ? [node] : []));
    return {
      ...{ block: this.#block, nodes, values: this.#values, absorbed: this.#absorbed },
      convolutions: new Map(convolutions.map((node) => [node.target.node, node])),
    };
  }

  #convolution(node: Node): BlockedConvolution | null {
    const target = this.#convolutions.get(node);
    const [x] = node.inputs;
    const [y] = node.outputs;
    if (!target || !x || !y || target.kernel.length !== 2) return null;
    const { weight, bias, inFeatures, outFeatures, groups, kernel } = target;
    if (weight.value.type !== "float32" || (bias && bias.values.value.type !== "float32")) return null;
    const block = this.#block;
    const known = this.#values.get(x.name);
    const isPlain = !known && groups === 1 && inFeatures < block;
    // The kernel that moves channels into blocks takes four at a time.
    if (!known && !isPlain && inFeatures % 4 !== 0) return null;
    const from = known ?? this.#source(x, inFeatures);
    const isDepthwise = groups > 1 && groups === inFeatures && groups === outFeatures;
    const isWhole = inFeatures % (groups * block) === 0 && outFeatures % (groups * block) === 0;
    if (groups > 1 && !isDepthwise && !isWhole) return null;
    const outputs = padded(outFeatures, block);
    const value = { channels: outFeatures, padded: outputs, origin: from.origin, size: moved(node, kernel, from.size) };
    const { sum, hasRelu, result } = this.#after(y, value);
    this.#values.set(result.name, value);
    return {
      ...{ kind: "convolution", target, input: isPlain ? "plain" : "blocked" },
      ...{ inputs: isPlain ? inFeatures : from.padded, outputs, groups: isDepthwise ? outputs : groups },
      ...{ sum, hasRelu, result },
    };
  }

  #source({ name }: Value, channels: number): BlockedValue {
    return { channels, padded: padded(channels, this.#block), origin: name, size: [`${name} h`, `${name} w`] };
  }

  /** What follows a convolution that nothing else reads: the sum with another value, then a Relu. */
  #after(y: Value, value: BlockedValue): { sum: Value | null; hasRelu: boolean; result: Value } {
    let result = y;
    let sum: Value | null = null;
    const add = this.#onlyReader(y, "Add");
    const other = add?.inputs.find((input) => input && input.name !== y.name);
    const known = this.#values.get(other?.name ?? "");
    if (add?.outputs[0] && other && known && isSame(known, value)) {
      this.#absorbed.add(add);
      sum = other;
      result = add.outputs[0];
    }
    const relu = this.#onlyReader(result, "Relu");
    if (!relu?.outputs[0]) return { sum, hasRelu: false, result };
    this.#absorbed.add(relu);
    return { sum, hasRelu: true, result: relu.outputs[0] };
  }

  #onlyReader({ name }: Value, op: string): Node | null {
    const [reader, ...others] = this.#readers.get(name) ?? [];
    return reader?.op === op && reader.domain === "" && others.length === 0 ? reader : null;
  }

  #pool(node: Node): BlockedOperator | null {
    const [x] = node.inputs;
    const [y, ...others] = node.outputs;
    const known = this.#values.get(x?.name ?? "");
    if (!known || !y || others.some(({ name }) => name !== "")) return null;
    const isMean = this.#isMeanOfPositions(node);
    const { ceil_mode: ceil } = node.attributes;
    // With `count_include_pad` the kernel for blocks divides by another number where a window reaches over the edge.
    const isUneven = node.op === "AveragePool" && ceil?.kind === "int" && ceil.value !== 0;
    if (!isMean && (isUneven || !pools.has(node.op))) return null;
    const { kernel_shape: kernel } = node.attributes;
    const size = kernel?.kind === "ints" ? moved(node, kernel.value, known.size) : (["1", "1"] as const);
    this.#values.set(y.name, { ...known, size });
    return { kind: isMean ? "mean" : "pool", node, result: y };
  }

  #isMeanOfPositions({ op, inputs, attributes }: Node): boolean {
    const axes = this.#initializers.get(inputs[1]?.name ?? "");
    const { keepdims: keeps } = attributes;
    if (op !== "ReduceMean" || axes?.data.kind !== "inline" || (keeps?.kind === "int" && keeps.value === 0))
      return false;
    const { bytes } = axes.data;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const list = Array.from({ length: bytes.byteLength / 8 }, (_, i) => Number(view.getBigInt64(8 * i, true)));
    return [...list.map((axis) => (axis < 0 ? axis + 4 : axis))].sort().join() === "2,3";
  }

  #operator(node: Node): BlockedOperator | null {
    const [y] = node.outputs;
    const inputs = node.inputs.flatMap((input) => input ?? []);
    const found = inputs.map(({ name }) => this.#values.get(name));
    const blocked = found.flatMap((value) => value ?? []);
    const [first, second] = blocked;
    if (!y || !first) return null;
    const isAlike = blocked.every((value) => isSame(value, first));
    const restIsScalar = inputs.every(({ name }, i) => found[i] !== undefined || this.#isScalar(name));
    if (elementwise.has(node.op) && isAlike && restIsScalar) {
      this.#values.set(y.name, first);
      return { kind: "operator", node, result: y };
    }
    if (node.op === "Concat" && blocked.length === inputs.length) return this.#joined(node, y, blocked);
    if ((node.op === "Mul" || node.op === "Add") && second && blocked.length === 2)
      return this.#broadcast(node, y, first, second);
    return null;
  }

  /** Whole blocks one after the other. */
  #joined(node: Node, y: Value, parts: readonly BlockedValue[]): BlockedOperator | null {
    const [first] = parts;
    const { axis } = node.attributes;
    if (!first || axis?.kind !== "int" || axis.value !== 1) return null;
    if (parts.some((part) => part.channels !== part.padded || !isSame({ ...part, channels: first.channels }, first)))
      return null;
    const channels = parts.reduce((sum, part) => sum + part.channels, 0);
    this.#values.set(y.name, { ...first, channels, padded: channels });
    return { kind: "operator", node, result: y };
  }

  /** A value of each channel for all positions, as squeeze-and-excitation has it. */
  #broadcast(node: Node, y: Value, first: BlockedValue, second: BlockedValue): BlockedOperator | null {
    const isOne = ({ size }: BlockedValue): boolean => size.join() === "1,1";
    if (first.channels !== second.channels || first.origin !== second.origin || isOne(first) === isOne(second))
      return null;
    this.#values.set(y.name, isOne(first) ? second : first);
    return { kind: "broadcast", node, result: y };
  }

  #isScalar(name: string): boolean {
    const shape = this.#initializers.get(name)?.value.shape;
    return shape !== undefined && shape.length <= 4 && shape.every((size) => size === 1);
  }
}

const isSame = (a: BlockedValue, b: BlockedValue): boolean =>
  a.channels === b.channels && a.origin === b.origin && a.size.join() === b.size.join();

/** Height and width after a window that moves over them, as an expression of what they were. */
function moved(
  { name, attributes }: Node,
  kernel: readonly number[],
  size: readonly [string, string],
): [string, string] {
  const ints = (key: string): readonly number[] => {
    const found = attributes[key];
    return found?.kind === "ints" ? found.value : [];
  };
  const { auto_pad: auto, ceil_mode: ceil } = attributes;
  const roundsUp = ceil?.kind === "int" && ceil.value !== 0;
  const axis = (index: 0 | 1): string => {
    if (auto?.kind === "string" && auto.value !== "NOTSET") return `${size[index]} behind ${name}`;
    const stride = ints("strides")[index] ?? 1;
    const reach = (ints("dilations")[index] ?? 1) * ((kernel[index] ?? 1) - 1);
    const grown = (ints("pads")[index] ?? 0) + (ints("pads")[index + 2] ?? 0) - reach;
    return stride === 1 && grown === 0
      ? size[index]
      : `(${size[index]} + ${grown} / ${stride}${roundsUp ? " up" : ""})`;
  };
  return [axis(0), axis(1)];
}
