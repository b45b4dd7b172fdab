/** What a gradient rule sees of its node: values, attributes and the gradient of the outputs. */
import type { GraphBuilder } from "../graph/builder.js";
import type { Ops } from "../graph/ops.js";
import { ShapeError } from "../graph/shape.js";
import type { Attribute, Node, Value } from "../graph/types.js";
import type { Sizes } from "./sizes.js";

/** Computes one input's gradient. It may have the output's shape: the caller undoes broadcasting. */
export type Pull = () => Value;

/** One pull per input, called only if that gradient is wanted; null for an input without a gradient. */
export type VjpRule = (call: Call) => readonly (Pull | null)[];

export class Call {
  readonly op: Ops;
  readonly node: Node;
  readonly sizes: Sizes;
  readonly #gradients: readonly (Value | null)[];

  constructor(op: Ops, node: Node, sizes: Sizes, gradients: readonly (Value | null)[]) {
    this.op = op;
    this.node = node;
    this.sizes = sizes;
    this.#gradients = gradients;
  }

  /** The gradient of the first output. */
  get g(): Value {
    return this.gradient(0) ?? this.sizes.zeros(this.y);
  }

  gradient(output: number): Value | null {
    return this.#gradients[output] ?? null;
  }

  get x(): Value {
    return this.input(0);
  }

  get y(): Value {
    return this.node.outputs[0] ?? this.refuse("it has no output");
  }

  input(index: number): Value {
    return this.node.inputs[index] ?? this.refuse(`input ${index} is missing`);
  }

  optional(index: number): Value | null {
    return this.node.inputs[index] ?? null;
  }

  /** A later output, if the node has it. Statistics that a kernel saves are float32, whatever the type of x. */
  output(index: number): Value | null {
    const value = this.node.outputs[index];
    return value && value.name !== "" ? value : null;
  }

  int(name: string, fallback: number): number {
    const found = this.node.attributes[name];
    return found?.kind === "int" ? found.value : fallback;
  }

  /** A float attribute; some builders write whole floats as ints. */
  float(name: string, fallback: number): number {
    const found = this.node.attributes[name];
    return found?.kind === "float" || found?.kind === "int" ? found.value : fallback;
  }

  string(name: string, fallback: string): string {
    const found = this.node.attributes[name];
    return found?.kind === "string" ? found.value : fallback;
  }

  ints(name: string): readonly number[] | null {
    const found = this.node.attributes[name];
    return found?.kind === "ints" ? found.value : null;
  }

  attribute(name: string): Attribute | undefined {
    return this.node.attributes[name];
  }

  /** The integers of a constant input; null if it is omitted or computed. */
  constant(index: number): readonly number[] | null {
    const value = this.optional(index);
    return value && readInts(this.op.builder, value);
  }

  /** The float32 numbers of a constant input; null if it is omitted or computed. */
  floats(index: number): readonly number[] | null {
    const value = this.optional(index);
    const data = value?.type === "float32" ? this.op.builder.initializerOf(value.name)?.data : undefined;
    if (data?.kind !== "inline") return null;
    const { buffer, byteOffset, byteLength } = data.bytes;
    const view = new DataView(buffer, byteOffset, byteLength);
    return Array.from({ length: byteLength / 4 }, (_, i) => view.getFloat32(4 * i, true));
  }

  /** `axes`, an attribute of older operators and an input of newer ones; null if there are none. */
  axes(index: number): readonly number[] | null {
    const axes = this.ints("axes") ?? this.constant(index);
    if (!axes && this.optional(index)) this.refuse("its axes are computed");
    return axes?.map((axis) => (axis < 0 ? axis + this.x.shape.length : axis)) ?? null;
  }

  /** Throws ShapeError: this form of the operator has no gradient. */
  refuse(why: string): never {
    throw new ShapeError(`No gradient for ${this.node.op} (${this.node.name}): ${why}`);
  }
}

function readInts(builder: GraphBuilder, value: Value): number[] | null {
  const data = builder.initializerOf(value.name)?.data;
  if (data?.kind !== "inline") return null;
  const { buffer, byteOffset, byteLength } = data.bytes;
  const view = new DataView(buffer, byteOffset, byteLength);
  if (value.type === "int64") {
    return Array.from({ length: byteLength / 8 }, (_, i) => Number(view.getBigInt64(8 * i, true)));
  }
  return value.type === "int32" ? Array.from({ length: byteLength / 4 }, (_, i) => view.getInt32(4 * i, true)) : null;
}
