/**
 * Reverse-mode differentiation: extends a graph by the gradients of one value with respect to others. Operators are known only
 * through the table of rules.
 */
import type { GraphBuilder } from "../graph/builder.js";
import type { CustomGradient } from "../graph/gradient.js";
import { Ops } from "../graph/ops.js";
import { ShapeError, sameShape, showShape } from "../graph/shape.js";
import type { ElementType, Node, Shape, Value } from "../graph/types.js";
import { Call } from "./call.js";
import { type GroupOf, Recomputation } from "./recompute.js";
import { Sizes } from "./sizes.js";
import { ruleOf } from "./vjp.js";

export interface BackwardOptions {
  /** The gradient of `loss`, in its shape. Default 1, for a loss of one element. */
  readonly seed?: Value;
  readonly custom?: readonly CustomGradient[];
  /** Groups of nodes, such as layers. The targets' gradients in a group are computed before the backward pass enters the group below. */
  readonly groups?: GroupOf;
  /** Recompute the results inside a group in the backward pass instead of keeping them. */
  readonly recompute?: boolean;
}

/**
 * Adds nodes that compute d loss / d target, and returns that value for each target, in the target's shape. Visits only nodes
 * between the targets and the loss. Throws ShapeError if the loss does not depend on a target, or if an operator between them
 * has no rule.
 */
export function backward(
  builder: GraphBuilder,
  loss: Value,
  targets: readonly Value[],
  { seed, custom = [], groups = () => null, recompute = false }: BackwardOptions = {},
): Map<Value, Value> {
  const steps = stepsOf(builder.nodes, custom);
  const reached = reach(steps, targets);
  const op = new Ops(builder);
  return builder.scope("gradients", () => {
    const gradients = new Accumulator(op, new Sizes(op));
    const recomputation = new Recomputation(op, [...builder.nodes], { groupOf: groups, recompute, reached });
    const names = new Set(targets.map(({ name }) => name));
    gradients.add(loss, seed ?? one(op, loss));
    for (const step of steps.toReversed()) {
      if (step.outputs.some(({ name }) => reached.has(name) && gradients.has(name))) {
        builder.scope(step.node.name, () => pull(step, reached, gradients, recomputation, names));
      }
    }
    return new Map(targets.map((target) => [target, gradients.take(target) ?? independent(target, loss)]));
  });
}

/** A node, or a subgraph with a custom gradient. */
interface Step {
  /** The node; of a subgraph, the node of its last output. */
  readonly node: Node;
  readonly inputs: readonly (Value | null)[];
  readonly outputs: readonly Value[];
  readonly rule: Node | CustomGradient;
}

/** The steps in forward order. A custom gradient takes the place of its last output's node and hides the nodes of all its outputs. */
function stepsOf(nodes: readonly Node[], custom: readonly CustomGradient[]): Step[] {
  const owner = new Map(custom.flatMap((gradient) => gradient.outputs.map(({ name }) => [name, gradient] as const)));
  const missing = new Map(custom.map((gradient) => [gradient, new Set(gradient.outputs.map(({ name }) => name))]));
  return nodes.flatMap((node): Step[] => {
    const hidden = node.outputs.map(({ name }) => owner.get(name)).find((gradient) => gradient !== undefined);
    if (!hidden) return [{ node, inputs: node.inputs, outputs: node.outputs, rule: node }];
    const left = missing.get(hidden);
    for (const { name } of node.outputs) left?.delete(name);
    const { inputs, outputs } = hidden;
    return left?.size === 0 ? [{ node, inputs, outputs, rule: hidden }] : [];
  });
}

const floats: ReadonlySet<ElementType> = new Set(["float32", "float64", "float16", "bfloat16"]);

/** Operators with a zero gradient: piecewise constant functions. */
const flat: ReadonlySet<string> = new Set(["Sign", "Floor", "Ceil", "Round"]);

/** Names of all values that depend on the targets. */
function reach(steps: readonly Step[], targets: readonly Value[]): Set<string> {
  const reached = new Set(targets.map(({ name }) => name));
  for (const { inputs, outputs, rule } of steps) {
    if ("op" in rule && flat.has(rule.op)) continue;
    if (!inputs.some((input) => input && reached.has(input.name))) continue;
    for (const { name, type } of outputs) if (name !== "" && floats.has(type)) reached.add(name);
  }
  return reached;
}

/** Adds a step's gradients to those of its inputs that depend on the targets. */
function pull(
  { node, inputs, outputs, rule }: Step,
  reached: ReadonlySet<string>,
  sums: Accumulator,
  recomputation: Recomputation,
  targets: ReadonlySet<string>,
): void {
  const taken = outputs.map((output) => sums.take(output));
  const wanted = inputs.map((input) => input !== null && reached.has(input.name));
  const arrived = recomputation.arrive(node, taken);
  const given =
    "op" in rule
      ? applyRule(recomputation.copyOf(rule), arrived, wanted, sums)
      : rule.vjp(sums.op, arrived, wanted, (value) => recomputation.valueOf(value));
  inputs.forEach((input, i) => {
    const gradient = given[i];
    if (!input || !gradient || !wanted[i]) return;
    sums.add(input, gradient);
    if (targets.has(input.name)) recomputation.addTargetGradient(gradient);
  });
}

function applyRule(
  node: Node,
  arrived: readonly (Value | null)[],
  wanted: readonly boolean[],
  { op, sizes }: Accumulator,
): (Value | null)[] {
  const rule = ruleOf(node);
  if (!rule) throw new ShapeError(`No gradient rule for ${node.domain && `${node.domain}.`}${node.op} (${node.name})`);
  const pulls = rule(new Call(op, node, sizes, arrived));
  return wanted.map((isWanted, i) => {
    const make = pulls[i];
    if (isWanted && !make) throw new ShapeError(`No gradient for input ${i} of ${node.op} (${node.name})`);
    return isWanted && make ? make() : null;
  });
}

/** Collects gradients and sums them when they are taken. The only place that undoes broadcasting. */
class Accumulator {
  readonly op: Ops;
  readonly sizes: Sizes;
  readonly #parts = new Map<string, Value[]>();

  constructor(op: Ops, sizes: Sizes) {
    this.op = op;
    this.sizes = sizes;
  }

  has(name: string): boolean {
    return this.#parts.has(name);
  }

  add(value: Value, gradient: Value): void {
    const part = this.sizes.expand(unbroadcast(this.op, gradient, value.shape), value);
    const parts = this.#parts.get(value.name);
    if (parts) parts.push(part);
    else this.#parts.set(value.name, [part]);
  }

  /** The sum of a value's gradients; null if there are none. */
  take(value: Value): Value | null {
    const [first, ...rest] = this.#parts.get(value.name) ?? [];
    if (!first) return null;
    const sum = rest.reduce(this.op.add, first);
    this.#parts.set(value.name, [sum]);
    return sum;
  }
}

/** Sums over the axes that broadcasting added or expanded. */
function unbroadcast(op: Ops, gradient: Value, shape: Shape): Value {
  if (sameShape(gradient.shape, shape)) return gradient;
  const extra = gradient.shape.length - shape.length;
  if (extra < 0) return gradient; // a seed of 1, which the caller expands
  const leading = Array.from({ length: extra }, (_, axis) => axis);
  const lower = extra === 0 ? gradient : op.sum(gradient, leading, false);
  const stretched = shape.flatMap((dim, axis) => (dim === 1 && lower.shape[axis] !== 1 ? [axis] : []));
  return stretched.length === 0 ? lower : op.sum(lower, stretched);
}

function one(op: Ops, loss: Value): Value {
  if (loss.shape.some((dim) => dim !== 1)) {
    throw new ShapeError(`The loss ${loss.name} is ${showShape(loss.shape)}; it needs one element, or a seed`);
  }
  return op.like(loss, 1);
}

function independent(target: Value, loss: Value): never {
  throw new ShapeError(`${loss.name} does not depend on ${target.name}`);
}
