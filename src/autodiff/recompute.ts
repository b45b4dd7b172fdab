/**
 * Activations that are made again on the way back instead of being kept (arXiv:1604.06174). A group of nodes is copied when
 * the walk enters it; only what crosses its border stays in memory.
 */
import type { Ops } from "../graph/ops.js";
import type { Node, Value } from "../graph/types.js";

/** The group that a node belongs to, or null: its results are kept. Groups follow one another. */
export type GroupOf = (node: Node) => string | null;

export class Recomputation {
  readonly #op: Ops;
  readonly #groups = new Map<string, Node[]>();
  readonly #groupOf: GroupOf;
  readonly #copies = new Map<Node, Node>();
  readonly #reached: ReadonlySet<string>;
  readonly #entered = new Set<string>();

  constructor(op: Ops, nodes: readonly Node[], groupOf: GroupOf, reached: ReadonlySet<string>) {
    this.#op = op;
    this.#groupOf = groupOf;
    this.#reached = reached;
    for (const node of nodes) {
      const group = groupOf(node);
      if (group === null) continue;
      const members = this.#groups.get(group) ?? [];
      this.#groups.set(group, [...members, node]);
    }
  }

  /** The node whose values a rule may use: a copy where the node's own are not kept. `gradient` has arrived at it. */
  copyOf(node: Node, gradient: Value): Node {
    const group = this.#groupOf(node);
    if (group === null) return node;
    if (!this.#entered.has(group)) this.#enter(group, gradient);
    return this.#copies.get(node) ?? node;
  }

  /** Copies a group's nodes. Unneeded copies are left to whoever prunes the graph. */
  #enter(group: string, gradient: Value): void {
    this.#entered.add(group);
    const nodes = this.#groups.get(group) ?? [];
    const values = this.#border(nodes, gradient);
    for (const node of nodes) {
      const inputs = node.inputs.map((input) => input && (values.get(input.name) ?? input));
      const outputs = this.#op.builder.node(
        node.op,
        inputs,
        node.outputs.map(({ name, type, shape }) => (name === "" ? null : { type, shape })),
        node.attributes,
        node.domain,
      );
      node.outputs.forEach(({ name }, i) => {
        const copy = outputs[i];
        if (copy && name !== "") values.set(name, copy);
      });
      this.#copies.set(node, { ...node, inputs, outputs });
    }
  }

  /**
   * What the group reads from outside, each tied to the gradient: plus zero times an element of it. So no copy can run
   * before the walk has come this far, and none is taken for the node that it copies.
   */
  #border(nodes: readonly Node[], gradient: Value): Map<string, Value> {
    const made = new Set(nodes.flatMap(({ outputs }) => outputs.map(({ name }) => name)));
    const given = new Set(this.#op.builder.inputs.map(({ name }) => name));
    const read = nodes.flatMap(({ inputs }) => inputs.filter((input) => input !== null));
    const activations = new Map(
      read
        .filter(({ name, type }) => type === gradient.type && !made.has(name) && !given.has(name))
        .filter(({ name }) => !this.#op.builder.initializerOf(name))
        .map((value) => [value.name, value] as const),
    );
    const moving = [...activations.values()].filter(({ name }) => this.#reached.has(name));
    const zero = this.#zero(gradient);
    const tied = moving.length > 0 ? moving : [...activations.values()];
    return new Map(tied.map((value) => [value.name, this.#op.one("Add", [value, zero], value.type, value.shape)]));
  }

  /** A zero [1] that is known only once the gradient is. */
  #zero(gradient: Value): Value {
    const op = this.#op;
    const flat = op.one("Reshape", [gradient, op.builder.constant("int64", [1], [-1])], gradient.type, ["elements"]);
    return op.scale(op.slice(flat, 0, 0, 1), 0);
  }
}
