/**
 * The walk's memory: what waits for what. Activations that are made again on the way back instead of being kept (arXiv:1604.06174). A group of nodes is copied when
 * the walk enters it; only what crosses its border stays in memory, and what was left out of it.
 * And no group is entered before the one above has made its targets' gradients, or all would wait with their factors for the end.
 */
import type { Ops } from "../graph/ops.js";
import type { Node, Value } from "../graph/types.js";

/** The group that a node belongs to, or null: its results are kept. Groups follow one another. */
export type GroupOf = (node: Node) => string | null;

interface Plan {
  readonly groupOf: GroupOf;
  /** Whether results are made again; else the groups only wait for one another. */
  readonly again: boolean;
  /** Names of what moves with the targets. */
  readonly reached: ReadonlySet<string>;
}

export class Recomputation {
  readonly #op: Ops;
  readonly #groups = new Map<string, Node[]>();
  readonly #groupOf: GroupOf;
  readonly #copies = new Map<Node, Node>();
  /** By the name of the value that was copied. */
  readonly #values = new Map<string, Value>();
  readonly #reached: ReadonlySet<string>;
  readonly #entered = new Set<string>();
  readonly #again: boolean;
  /** Names of the graph's inputs. */
  readonly #given: ReadonlySet<string>;
  /** Gradients of targets that the next group to be entered waits for. */
  #pending: Value[] = [];

  constructor(op: Ops, nodes: readonly Node[], { groupOf, again, reached }: Plan) {
    this.#op = op;
    this.#groupOf = groupOf;
    this.#again = again;
    this.#reached = reached;
    this.#given = new Set(op.builder.inputs.map(({ name }) => name));
    for (const node of nodes) {
      const group = groupOf(node);
      if (group === null) continue;
      const members = this.#groups.get(group) ?? [];
      this.#groups.set(group, [...members, node]);
    }
  }

  /** A part of a target's gradient was made. */
  made(gradient: Value): void {
    this.#pending.push(gradient);
  }

  /** The gradients that arrived at a node; in a group that is new to the walk the first of them waits for the group above. */
  arrive(node: Node, gradients: readonly (Value | null)[]): readonly (Value | null)[] {
    const group = this.#groupOf(node);
    const first = gradients.find((gradient) => gradient !== null);
    if (group === null || !first || this.#entered.has(group)) return gradients;
    this.#entered.add(group);
    const zero = this.#zero([...this.#pending, ...(this.#again ? [first] : [])]);
    this.#pending = [];
    if (zero && this.#again) this.#copy(group, zero);
    const late = zero ? this.#op.add(first, zero) : first;
    return gradients.map((gradient) => (gradient === first ? late : gradient));
  }

  /** The node whose values a rule may use: a copy where the node's own are not kept. */
  copyOf(node: Node): Node {
    return this.#copies.get(node) ?? node;
  }

  /** The value that a gradient may read: a copy where it is not kept itself. */
  valueOf(value: Value): Value {
    return this.#values.get(value.name) ?? value;
  }

  /** Copies what moves in a group. Unneeded copies are left to whoever prunes the graph. */
  #copy(group: string, zero: Value): void {
    const nodes = this.#groups.get(group) ?? [];
    const made = new Set(nodes.flatMap(({ outputs }) => outputs.map(({ name }) => name)));
    const tied = new Map<string, Value>();
    for (const node of nodes) {
      if (!node.inputs.some((input) => input && this.#values.has(input.name))) {
        const first = this.#first(node, made, zero);
        if (!first) continue; // it stands still
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
   * Of a node that reads no copy, the input to which a zero is added that depends on the gradients so far: so its copy cannot run
   * before the walk has come this far, and is not taken for the node itself. An activation from outside, one that moves if
   * there is one; of a normalization its gain, which is smaller. null: it reads none.
   */
  #first(node: Node, made: ReadonlySet<string>, zero: Value): Value | null {
    const activations = node.inputs.filter(
      (input): input is Value =>
        input !== null &&
        input.type === zero.type &&
        !made.has(input.name) &&
        !this.#given.has(input.name) &&
        !this.#op.builder.initializerOf(input.name),
    );
    const first = activations.find(({ name }) => this.#reached.has(name)) ?? activations[0];
    const [x, gain] = node.inputs;
    return first && first === x && gain && node.op.endsWith("LayerNormalization") ? gain : (first ?? null);
  }

  /** A zero that is known only once all these are; null for none. */
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
