/** Collects nodes into a graph. Names come from nested scopes; equal constants are shared. */

import { float32ToFloat16 } from "../tensor/half.js";
import { ShapeError, showShape } from "./shape.js";
import type { Attribute, ElementType, Graph, Initializer, InitializerData, Node, Shape, Value } from "./types.js";
import { elementBytes } from "./types.js";

export type AttributeInput = number | string | readonly number[] | Attribute | undefined;

/** An output of a new node: its element type, its shape and, optionally, a name instead of a generated one. */
export interface OutputSpec {
  readonly type: ElementType;
  readonly shape: Shape;
  readonly name?: string;
}

export class GraphBuilder {
  readonly #name: string;
  readonly #scopes: string[] = [];
  /** Names of nodes and values; generated ones avoid both. How often each was wanted. */
  readonly #names = new Map<string, number>();
  /** Names of values. A node may have the name of another node's output. */
  readonly #values = new Set<string>();
  readonly #nodes: Node[] = [];
  readonly #inputs: Value[] = [];
  readonly #outputs: Value[] = [];
  readonly #initializers = new Map<string, Initializer>();
  readonly #constants = new Map<string, Value>();

  constructor(name: string) {
    this.#name = name;
  }

  /** A builder that extends an existing graph, from any source; the graph's outputs are not copied. */
  static from(graph: Graph): GraphBuilder {
    const builder = new GraphBuilder(graph.name);
    for (const { value, data } of graph.initializers) builder.initializer(value.name, value.type, value.shape, data);
    for (const value of graph.inputs) {
      // An initializer that is also listed as an input is a default that a caller could override. Here it stays a weight.
      if (!builder.#initializers.has(value.name)) builder.input(value.name, value.type, value.shape);
    }
    for (const node of graph.nodes) {
      for (const { name } of node.outputs) if (name !== "") builder.#claim(name);
      if (node.name !== "" && !builder.#names.has(node.name)) builder.#names.set(node.name, 1);
      builder.#nodes.push(node);
    }
    return builder;
  }

  /** Runs `body` with `name` as a prefix of the names of all nodes and values that it adds. */
  scope<T>(name: string, body: () => T): T {
    this.#scopes.push(name);
    try {
      return body();
    } finally {
      this.#scopes.pop();
    }
  }

  get path(): string {
    return this.#scopes.join(".");
  }

  /** `shape`: null if callers may give any. */
  input(name: string, type: ElementType, shape: Shape | null): Value {
    const value: Value = shape ? { name, type, shape } : { name, type, shape: [], unknown: "shape" };
    this.#claim(name);
    this.#inputs.push(value);
    return value;
  }

  /** A weight under its full name, without scopes. A second call with the same name returns the same value. */
  initializer(name: string, type: ElementType, shape: Shape, data: InitializerData): Value {
    const known = this.#initializers.get(name);
    if (known) return known.value;
    this.#claim(name);
    const count = shape.reduce<number>((n, dim) => n * (typeof dim === "number" ? dim : Number.NaN), 1);
    const bytes = data.kind === "inline" ? data.bytes.byteLength : data.byteLength;
    if (count * elementBytes[type] !== bytes) {
      throw new ShapeError(`Initializer ${name}: ${type}${showShape(shape)} does not fill ${bytes} bytes`);
    }
    const value = { name, type, shape };
    this.#initializers.set(name, { value, data });
    return value;
  }

  /** A small constant; equal constants are shared. */
  constant(
    type: "float32" | "float16" | "float64" | "int64" | "int32" | "bool",
    shape: Shape,
    data: readonly number[],
  ): Value {
    const key = `${type}|${showShape(shape)}|${data.map((x) => (Object.is(x, -0) ? "-0" : x)).join()}`;
    const known = this.#constants.get(key);
    if (known) return known;
    // A graph that this class wrote, and that was read again, has constants of its own.
    let number = this.#constants.size;
    while (this.#values.has(`constant.${type}.${number}`)) number++;
    const bytes = pack(type, data);
    const value = this.initializer(`constant.${type}.${number}`, type, shape, { kind: "inline", bytes });
    this.#constants.set(key, value);
    return value;
  }

  scalar(type: "float32" | "float16" | "float64" | "int64" | "int32", value: number): Value {
    return this.constant(type, [], [value]);
  }

  /** Adds a node. Null outputs and `undefined` attributes are omitted. Whole numbers become ints: pass `{kind: "float"}` for a float. */
  node(
    op: string,
    inputs: readonly (Value | null)[],
    outputs: readonly (OutputSpec | null)[],
    attributes: Readonly<Record<string, AttributeInput>> = {},
    domain = "",
  ): Value[] {
    const base = [...this.#scopes, op].join(".");
    for (const spec of outputs) if (spec?.name !== undefined) this.#claim(spec.name);
    const name = this.#unique(base);
    const values = outputs.map((spec, i): Value => {
      if (!spec) return absent;
      const given = spec.name ?? (i === 0 ? name : `${name}:${i}`);
      this.#values.add(given);
      return { name: given, type: spec.type, shape: spec.shape };
    });
    const trimmed = [...inputs];
    while (trimmed.length > 0 && trimmed.at(-1) === null) trimmed.pop();
    this.#nodes.push({ name, op, domain, inputs: trimmed, outputs: values, attributes: toAttributes(attributes) });
    return values;
  }

  output(value: Value): void {
    this.#outputs.push(value);
  }

  /** The nodes so far; `autodiff` walks them backward. */
  get nodes(): readonly Node[] {
    return this.#nodes;
  }

  get inputs(): readonly Value[] {
    return this.#inputs;
  }

  /** The initializer of this name, if any. */
  initializerOf(name: string): Initializer | undefined {
    return this.#initializers.get(name);
  }

  build(): Graph {
    return {
      name: this.#name,
      inputs: [...this.#inputs],
      outputs: [...this.#outputs],
      nodes: [...this.#nodes],
      initializers: [...this.#initializers.values()],
    };
  }

  #unique(base: string): string {
    const count = this.#names.get(base) ?? 0;
    this.#names.set(base, count + 1);
    return count === 0 ? base : this.#unique(`${base}.${count}`);
  }

  #claim(name: string): void {
    if (this.#values.has(name)) throw new ShapeError(`The name ${name} is taken`);
    this.#values.add(name);
    this.#names.set(name, 1);
  }
}

/** An omitted optional output. */
const absent: Value = { name: "", type: "float32", shape: [] };

function toAttributes(input: Readonly<Record<string, AttributeInput>>): Record<string, Attribute> {
  const out: Record<string, Attribute> = {};
  for (const [key, value] of Object.entries(input)) {
    if (value === undefined) continue;
    if (typeof value === "number") {
      out[key] = Number.isInteger(value) ? { kind: "int", value } : { kind: "float", value };
    } else if (typeof value === "string") out[key] = { kind: "string", value };
    else if (isAttribute(value)) out[key] = value;
    else out[key] = { kind: "ints", value };
  }
  return out;
}

function isAttribute(value: readonly number[] | Attribute): value is Attribute {
  return !Array.isArray(value);
}

/** A float attribute, even for a whole number. */
export const float = (value: number): Attribute => ({ kind: "float", value });

function pack(type: ElementType, data: readonly number[]): Uint8Array {
  switch (type) {
    case "float32":
      return new Uint8Array(Float32Array.from(data).buffer);
    case "float16":
      return new Uint8Array(float32ToFloat16(Float32Array.from(data)).buffer);
    case "float64":
      return new Uint8Array(Float64Array.from(data).buffer);
    case "int64":
      return new Uint8Array(BigInt64Array.from(data, BigInt).buffer);
    case "int32":
      return new Uint8Array(Int32Array.from(data).buffer);
    default:
      return Uint8Array.from(data);
  }
}
