/**
 * Bounds the memory of the backward pass. Activations are recomputed instead of kept (arXiv:1604.06174): the nodes of a group are
 * copied when the pass enters it, so only values that cross its border stay in memory. And no group is entered before the
 * targets' gradients of the group above are computed; otherwise all of them would wait, with their factors, for the end.
 */
import { valueAt } from "../base/list.js";
import type { Ops } from "../graph/ops.js";
import type { Node, Value } from "../graph/types.js";

/** The group of a node; null: its results are kept. Groups do not interleave. */
export type GroupOf = (node: Node) => string | null;

interface Plan {
  readonly groupOf: GroupOf;
  /** Whether results are recomputed; otherwise the groups only wait for one another. */
  readonly recompute: boolean;
  /** Names of the values that depend on the targets. */
  readonly reached: ReadonlySet<string>;
}

export class Recomputation {
  readonly #op: Ops;
  readonly #groups = new Map<string, Node[]>();
  readonly #groupOf: GroupOf;
  readonly #copies = new Map<Node, Node>();
  /** Copies by the original value's name. */
  readonly #values = new Map<string, Value>();
  readonly #reached: ReadonlySet<string>;
  readonly #entered = new Set<string>();
  readonly #recompute: boolean;
  /** Names of the graph's inputs. */
  readonly #given: ReadonlySet<string>;
  /** Gradients of targets that the next group waits for. */
  #pending: Value[] = [];

  constructor(op: Ops, nodes: readonly Node[], { groupOf, recompute, reached }: Plan) {
    this.#op = op;
    this.#groupOf = groupOf;
    this.#recompute = recompute;
    this.#reached = reached;
    this.#given = new Set(op.builder.inputs.map(({ name }) => name));
    for (const node of nodes) {
      const group = groupOf(node);
      if (group === null) continue;
      const members = this.#groups.get(group) ?? [];
      this.#groups.set(group, [...members, node]);
    }
  }

  /** Makes the next group wait for a contribution to a target's gradient. */
  addTargetGradient(gradient: Value): void {
    this.#pending.push(gradient);
  }

  /** The gradients of a node's outputs. When the pass enters a group, the first of them is made to wait for the group above. */
  arrive(node: Node, gradients: readonly (Value | null)[]): readonly (Value | null)[] {
    const group = this.#groupOf(node);
    const first = gradients.find((gradient) => gradient !== null);
    if (group === null || !first || this.#entered.has(group)) return gradients;
    this.#entered.add(group);
    const zero = this.#zero([...this.#pending, ...(this.#recompute ? [first] : [])]);
    this.#pending = [];
    if (zero && this.#recompute) this.#copy(group, zero);
    const late = zero ? this.#op.add(first, zero) : first;
    return gradients.map((gradient) => (gradient === first ? late : gradient));
  }

  /** The node whose values a rule may read: the recomputed copy if the node's own values are not kept. */
  copyOf(node: Node): Node {
    return this.#copies.get(node) ?? node;
  }

  /** The value that a gradient may read: the recomputed copy if the value is not kept. */
  valueOf(value: Value): Value {
    return this.#values.get(value.name) ?? value;
  }

  /** Copies the nodes of a group that depend on activations. Pruning the graph removes unneeded copies. */
  #copy(group: string, zero: Value): void {
    const nodes = valueAt(this.#groups, group);
    const inner = new Set(nodes.flatMap(({ outputs }) => outputs.map(({ name }) => name)));
    const tied = new Map<string, Value>();
    for (const node of nodes) {
      if (!node.inputs.some((input) => input && this.#values.has(input.name))) {
        const first = this.#tied(node, inner, zero);
        if (!first) continue; // depends on no activation
        const late = tied.get(first.name) ?? this.#op.one("Add", [first, zero], first.type, first.shape);
        tied.set(first.name, late);
        this.#copyNode(node, (input) => (input.name === first.name ? late : input));
      } else this.#copyNode(node, (input) => this.valueOf(input));
    }
  }

  #copyNode(node: Node, inputOf: (value: Value) => Value): void {
    const inputs = node.inputs.map((input) => input && inputOf(input));
    const outputs = this.#op.builder.node(
      node.op,
      inputs,
      node.outputs.map(({ name, type, shape }) => (name === "" ? null : { type, shape })),
      node.attributes,
      node.domain,
    );
    node.outputs.forEach(({ name }, i) => {
      const copy = outputs[i];
      if (copy && name !== "") this.#values.set(name, copy);
    });
    this.#copies.set(node, { ...node, inputs, outputs });
  }

  /**
   * For a node that reads no copy: the input to which to add a zero that depends on the gradients so far. So the copy cannot run
   * before the backward pass gets here, and is not merged with the original. An activation from outside the group, preferably one
   * that depends on the targets; for a normalization its gain, which is smaller. null: the node reads no activation.
   */
  #tied(node: Node, inner: ReadonlySet<string>, zero: Value): Value | null {
    const activations = node.inputs.filter(
      (input): input is Value =>
        input !== null &&
        input.type === zero.type &&
        !inner.has(input.name) &&
        !this.#given.has(input.name) &&
        !this.#op.builder.initializerOf(input.name),
    );
    const first = activations.find(({ name }) => this.#reached.has(name)) ?? activations[0];
    const [x, gain] = node.inputs;
    return first && first === x && gain && node.op.endsWith("LayerNormalization") ? gain : (first ?? null);
  }

  /** A zero that depends on all these values; null if there are none. */
  #zero(values: readonly Value[]): Value | null {
    const op = this.#op;
    const list = (size: number, value: number): Value =>
      op.builder.constant(
        "int64",
        [size],
        Array.from({ length: size }, () => value),
      );
    const corners = values.map((value) => {
      const rank = value.shape.length;
      const axes = op.builder.constant("int64", [rank], [...value.shape.keys()]);
      const corner = op.one(
        "Slice",
        [value, list(rank, 0), list(rank, 1), axes],
        value.type,
        value.shape.map(() => 1),
      );
      return op.one("Reshape", [corner, list(1, -1)], value.type, [1]);
    });
    if (corners.length === 0) return null;
    return op.scale(op.sum(op.concat(corners, 0), [0], false), 0);
  }
}
