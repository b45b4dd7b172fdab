/** Gradients against central differences: builds a small graph, runs it, moves one element of an input at a time. */
import assert from "node:assert/strict";
import { type BackwardOptions, backward } from "../../src/autodiff/backward.js";
import { GraphBuilder } from "../../src/graph/builder.js";
import { Ops } from "../../src/graph/ops.js";
import { serializeGraph } from "../../src/graph/serialize.js";
import type { Graph, Shape, Value } from "../../src/graph/types.js";
import { Session } from "../../src/runtime/session.js";
import { Tensor } from "../../src/runtime/tensor.js";

export type Range = readonly [low: number, high: number];

export interface CaseInput {
  readonly shape: Shape;
  /** The range that values are drawn from. Default: -2 to 2. */
  readonly range?: Range;
  /** Whole numbers that are not differentiated. */
  readonly ints?: readonly number[];
  /** The values themselves. */
  readonly values?: readonly number[];
  /** An input whose gradient is not checked. */
  readonly fixed?: boolean;
}

export interface GradientCase {
  readonly title?: string;
  /** float64 unless no such kernel exists: then a bound must be stated. */
  readonly float32?: { readonly step: number; readonly bound: number };
  /** Sizes of the names in shapes. */
  readonly sizes?: Readonly<Record<string, number>>;
  readonly inputs: readonly CaseInput[];
  /** One value, or several that all count. */
  build(op: Ops, inputs: Value[]): Value | Value[];
  readonly options?: (inputs: Value[]) => BackwardOptions;
}

/** Reproducible numbers in [0, 1). */
export function sequence(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Runs a graph on tensors given by name; returns copies of its outputs. */
export async function runner(graph: Graph): Promise<(feeds: ReadonlyMap<string, Tensor>) => Promise<Tensor[]>> {
  const session = await Session.create(serializeGraph(graph), { threads: 1, spinning: false });
  const binding = session.bind();
  for (const { name } of graph.outputs) binding.outputToHost(name);
  return async (feeds) => {
    for (const { name } of graph.inputs) {
      const tensor = feeds.get(name);
      if (tensor) binding.input(name, tensor);
    }
    await session.run(binding);
    return binding.outputs();
  };
}

/** Fails where the gradient that the rules give and central differences differ by more than 1e-6 (or the case's bound) of the largest. */
export async function checkGradient(check: GradientCase): Promise<void> {
  const type = check.float32 ? "float32" : "float64";
  const { step, bound } = check.float32 ?? { step: 1e-5, bound: 1e-6 };
  const random = sequence(7);
  const sizes = check.sizes ?? {};
  const numbers = (shape: Shape): number[] => shape.map((dim) => (typeof dim === "number" ? dim : (sizes[dim] ?? NaN)));

  const builder = new GraphBuilder("case");
  const op = new Ops(builder);
  const feeds = new Map<string, Tensor>();
  const inputs = check.inputs.map((input, i): Value => {
    const value = builder.input(`x${i}`, input.ints ? "int64" : type, input.shape);
    feeds.set(value.name, tensorOf(input, type, numbers(input.shape), random));
    return value;
  });
  const built = check.build(op, inputs);
  const losses = [built].flat().map((y) => op.sum(op.mul(y, weights(op, y, numbers, random)), axesOf(y), false));
  const loss = losses.reduce(op.add);
  builder.output(loss);
  const forward = await runner(builder.build());

  const targets = inputs.filter((_, i) => !check.inputs[i]?.ints && !check.inputs[i]?.fixed);
  const gradients = backward(builder, loss, targets, check.options?.(inputs) ?? {});
  for (const target of targets) {
    const gradient = gradients.get(target);
    assert.ok(gradient, target.name);
    assert.deepEqual(gradient.shape, target.shape, `shape of the gradient of ${target.name}`);
    builder.output(
      builder.node("Identity", [gradient], [{ type, shape: gradient.shape, name: `d${target.name}` }])[0] as Value,
    );
  }
  const [, ...found] = await (await runner(builder.build()))(feeds);

  for (const [t, target] of targets.entries()) {
    const data = feeds.get(target.name)?.data as Float64Array;
    const expected = await differences(data, step, async () => Number((await forward(feeds))[0]?.data[0]));
    compare(found[t]?.data as Float64Array, expected, bound, target.name);
  }
}

function compare(found: ArrayLike<number>, expected: readonly number[], bound: number, what: string): void {
  assert.equal(found.length, expected.length);
  const largest = Math.max(1, ...expected.map(Math.abs));
  expected.forEach((value, i) => {
    const error = Math.abs((found[i] as number) - value) / largest;
    assert.ok(error <= bound, `${what}[${i}]: ${found[i]} where differences give ${value} (error ${error})`);
  });
}

async function differences(data: Float64Array, step: number, loss: () => Promise<number>): Promise<number[]> {
  const out: number[] = [];
  for (let i = 0; i < data.length; i++) {
    const kept = data[i] as number;
    data[i] = kept + step;
    const [above, high] = [await loss(), data[i] as number];
    data[i] = kept - step;
    const [below, low] = [await loss(), data[i] as number];
    data[i] = kept;
    out.push((above - below) / (high - low));
  }
  return out;
}

const axesOf = (y: Value): number[] => y.shape.map((_, axis) => axis);

/** Different weights for all elements of y, so that no two gradients can be taken for one another. */
function weights(op: Ops, y: Value, numbers: (shape: Shape) => number[], random: () => number): Value {
  const shape = numbers(y.shape);
  assert.ok(shape.every(Number.isFinite), `the sizes of ${y.shape} are given`);
  const data = Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => random() + 0.25);
  const value = op.builder.constant(y.type === "float32" ? "float32" : "float64", shape, data);
  return { ...value, shape: y.shape };
}

function tensorOf(input: CaseInput, type: "float32" | "float64", shape: number[], random: () => number): Tensor {
  const count = shape.reduce((a, b) => a * b, 1);
  if (input.ints) return Tensor.from("int64", shape, BigInt64Array.from(input.ints, BigInt));
  const [low, high] = input.range ?? [-2, 2];
  const values = input.values ?? Array.from({ length: count }, () => low + (high - low) * random());
  return type === "float32"
    ? Tensor.from("float32", shape, Float32Array.from(values))
    : Tensor.from("float64", shape, Float64Array.from(values));
}
