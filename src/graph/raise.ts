/**
 * Writes a graph of an older opset in the operators of `onnxOpset`. The rules below hold every change of form or meaning since the
 * oldest opset that is read; an operator without a rule has kept both. What has no equal form is refused by name.
 */

import { type OnnxFault, quoted } from "./onnx-fault.js";
import { isOperator } from "./operators.js";
import { onnxOpset } from "./serialize.js";
import type { Attribute, ElementType, Graph, Initializer, Node, Value } from "./types.js";

/** Raises a graph and the graphs in its attributes. `names` holds every name of the file, and takes those that are added. */
export function raiseGraph(graph: Graph, opset: number, names: Set<string>, fault: OnnxFault): Graph {
  return raised(graph, [], { opset, names, fault });
}

/** `outer`: the weights of the graphs around it. */
function raised(graph: Graph, outer: readonly Initializer[], context: FileContext): Graph {
  const initializers: Initializer[] = [];
  const known = [...outer, ...graph.initializers];
  const nodes = graph.nodes.flatMap((node) => {
    const attributes = Object.entries(node.attributes).map(([key, attribute]): [string, Attribute] => [
      key,
      attribute.kind === "graph" ? { kind: "graph", value: raised(attribute.value, known, context) } : attribute,
    ]);
    const inner = { ...node, attributes: Object.fromEntries(attributes) };
    return inner.domain === "" ? new NodeRaise(inner, { ...context, known, initializers }).raise() : [inner];
  });
  return { ...graph, nodes, initializers: [...graph.initializers, ...initializers] };
}

type Rule = (raise: NodeRaise) => readonly Node[];

/** Rules by operator: each holds for files of an opset before `before`. */
const rules: Readonly<Record<string, { readonly before: number; readonly rule: Rule }>> = {
  ...forEach(
    [
      ...["ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin"],
      ...["ReduceProd", "ReduceSumSquare"],
    ],
    18,
    (raise) => raise.toInputs("axes"),
  ),
  ...forEach(["ReduceSum", "Squeeze", "Unsqueeze"], 13, (raise) => raise.toInputs("axes")),
  ...forEach(["Softmax", "LogSoftmax", "Hardmax"], 13, flattenedSoftmax),
  ...forEach(["Dropout"], onnxOpset + 1, inferenceDropout),
  ...forEach(["BatchNormalization"], onnxOpset + 1, inferenceNormalization),
  ...forEach(["Split"], 18, (raise) => {
    if (raise.opset < 13 && raise.has("split")) return raise.toInputs("split");
    if (raise.node.inputs.length > 1) return [raise.node];
    return [raise.with({ attributes: { num_outputs: { kind: "int", value: raise.node.outputs.length } } })];
  }),
  ...forEach(["Slice"], 10, (raise) => {
    const starts = raise.requireInts("starts");
    const axes = raise.ints("axes") ?? starts.map((_, axis) => axis);
    const lists = [starts, raise.requireInts("ends"), axes].map((list) => raise.list(list));
    return [raise.with({ inputs: [raise.input(0), ...lists], without: ["starts", "ends", "axes"] })];
  }),
  ...forEach(["Pad"], 11, (raise) => {
    const fill = raise.scalar(raise.float("value", 0));
    const inputs = [raise.input(0), raise.list(raise.requireInts("pads")), fill];
    return [raise.with({ inputs, without: ["pads", "value"] })];
  }),
  ...forEach(["Clip"], 11, (raise) => {
    const bound = (name: string) => (raise.has(name) ? raise.scalar(raise.float(name, 0)) : null);
    return [raise.with({ inputs: [raise.input(0), bound("min"), bound("max")], without: ["min", "max"] })];
  }),
  ...forEach(["TopK"], 10, (raise) => [
    raise.with({ inputs: [raise.input(0), raise.list([raise.requireInt("k")])], without: ["k"] }),
  ]),
  ...forEach(["Scatter"], onnxOpset + 1, (raise) => [raise.with({ op: "ScatterElements" })]),
  ...forEach(["Upsample"], onnxOpset + 1, oldResize),
  ...forEach(["Resize"], 11, oldResize),
  ...forEach(["GridSample"], 20, (raise) => {
    const renamed: Readonly<Record<string, string>> = { bilinear: "linear", bicubic: "cubic" };
    const mode = raise.string("mode", "bilinear");
    return [raise.with({ attributes: { mode: { kind: "string", value: renamed[mode] ?? mode } } })];
  }),
  ...forEach(["RoiAlign"], 16, (raise) => [
    raise.with({ attributes: { coordinate_transformation_mode: { kind: "string", value: "output_half_pixel" } } }),
  ]),
  ...forEach(["DFT"], 20, (raise) => {
    const axis = raise.constant("int64", [], BigInt64Array.of(BigInt(raise.int("axis", 1))));
    return [raise.with({ inputs: [raise.input(0), raise.node.inputs[1] ?? null, axis], without: ["axis"] })];
  }),
  ...forEach(["GroupNormalization"], 21, (raise) => raise.refuse("whose scale is one for each group")),
};

function forEach(operators: readonly string[], before: number, rule: Rule) {
  return Object.fromEntries(operators.map((operator) => [operator, { before, rule }]));
}

/** Softmax used to flatten the axis and all later ones into one row. */
function flattenedSoftmax(raise: NodeRaise): Node[] {
  const { node } = raise;
  const [x, y] = [raise.input(0), raise.output(0)];
  const axis = raise.int("axis", 1);
  const isLast = axis === -1 || (!x.unknown && axis === x.shape.length - 1);
  const last: Record<string, Attribute> = { axis: { kind: "int", value: -1 } };
  if (isLast) return [raise.with({ attributes: last })];
  const [rows, normalized, shape] = [raise.value(x.type), raise.value(x.type), raise.value("int64")];
  return [
    raise.make("Flatten", [x], [rows], { axis: { kind: "int", value: axis } }),
    raise.make(node.op, [rows], [normalized], last),
    raise.make("Shape", [x], [shape]),
    raise.make("Reshape", [normalized, shape], [y]),
  ];
}

/** Dropout has no effect in inference. torch.onnx may write it in training mode even for a model in evaluation mode. */
function inferenceDropout(raise: NodeRaise): Node[] {
  if (raise.node.outputs[1]?.name) raise.refuse("with its mask, which only training uses");
  return [raise.make("Identity", [raise.input(0)], [raise.output(0)])];
}

function inferenceNormalization(raise: NodeRaise): Node[] {
  const trains = raise.opset >= 14 ? raise.int("training_mode", 0) !== 0 : raise.node.outputs.length > 1;
  if (trains) raise.refuse("in training mode: export the model in evaluation mode");
  return [raise.with({ outputs: [raise.output(0)] })];
}

/**
 * Resize before opset 11, and Upsample, which it replaced: places are scaled without a shift. The nearest pixel is the one before along an
 * axis that grows, and the one after along an axis that shrinks, so that these take a node each.
 */
function oldResize(raise: NodeRaise): Node[] {
  const [x, scales] = [raise.input(0), raise.input(1)];
  const resize = (nearest: "floor" | "ceil", from: Value, by: Value) =>
    raise.with({
      ...{ op: "Resize", inputs: [from, null, by] },
      attributes: {
        coordinate_transformation_mode: { kind: "string", value: "asymmetric" },
        nearest_mode: { kind: "string", value: nearest },
      },
    });
  const constant = raise.floatsOf(scales);
  if (raise.string("mode", "nearest") !== "nearest" || constant?.every((scale) => scale >= 1)) {
    return [resize("floor", x, scales)];
  }
  if (constant?.every((scale) => scale <= 1)) return [resize("ceil", x, scales)];
  const [growth, shrinkage, grown] = [raise.value("float32"), raise.value("float32"), raise.value(x.type)];
  const one = raise.constant("float32", [], Float32Array.of(1));
  return [
    raise.make("Max", [scales, one], [growth]),
    raise.make("Min", [scales, one], [shrinkage]),
    { ...resize("floor", x, growth), name: grown.name, outputs: [grown] },
    resize("ceil", grown, shrinkage),
  ];
}

type AttributeOf<K extends Attribute["kind"]> = Extract<Attribute, { readonly kind: K }>;

function isOfKind<K extends Attribute["kind"]>(attribute: Attribute, kind: K): attribute is AttributeOf<K> {
  return attribute.kind === kind;
}

interface Changes {
  readonly op?: string;
  readonly inputs?: readonly (Value | null)[];
  readonly outputs?: readonly Value[];
  /** Attributes to add or to replace. */
  readonly attributes?: Readonly<Record<string, Attribute>>;
  /** Attributes to drop. */
  readonly without?: readonly string[];
}

interface FileContext {
  readonly opset: number;
  readonly names: Set<string>;
  readonly fault: OnnxFault;
}

interface RaiseContext extends FileContext {
  /** The weights that the node may read. */
  readonly known: readonly Initializer[];
  /** Collects the initializers that raised nodes add. */
  readonly initializers: Initializer[];
}

/** A node being raised: typed access to its attributes, inputs and outputs, and helpers to build its replacement. */
class NodeRaise {
  readonly node: Node;
  readonly opset: number;
  readonly #context: RaiseContext;
  #made = 0;

  constructor(node: Node, context: RaiseContext) {
    this.node = node;
    this.opset = context.opset;
    this.#context = context;
  }

  raise(): readonly Node[] {
    const { op } = this.node;
    if (!isOperator(op)) this.refuse(`operators of opset ${onnxOpset} and earlier are allowed`, "; ");
    const found = rules[op];
    if (op === "Resize" && this.string("coordinate_transformation_mode", "") === "tf_half_pixel_for_nn") {
      this.refuse("with tf_half_pixel_for_nn");
    }
    return found && this.opset < found.before ? found.rule(this) : [this.node];
  }

  refuse(why: string, join = " "): never {
    const { op, name } = this.node;
    throw this.#context.fault.unsupported(
      `has node ${quoted(name)} with the operator ${quoted(op)} of opset ${this.opset}${join}${why}`,
    );
  }

  has(name: string): boolean {
    return Object.hasOwn(this.node.attributes, name);
  }

  #attribute<K extends Attribute["kind"]>(name: string, kind: K): AttributeOf<K> | null {
    const attribute = this.has(name) ? this.node.attributes[name] : undefined;
    if (attribute === undefined) return null;
    if (isOfKind(attribute, kind)) return attribute;
    throw this.#invalid(`whose ${quoted(name)} is of the kind ${attribute.kind}; ${kind} is allowed`);
  }

  #invalid(clause: string): Error {
    return this.#context.fault.invalid(`has node ${quoted(this.node.name)} (${quoted(this.node.op)}) ${clause}`);
  }

  int = (name: string, fallback: number): number => this.#attribute(name, "int")?.value ?? fallback;
  float = (name: string, fallback: number): number => this.#attribute(name, "float")?.value ?? fallback;
  string = (name: string, fallback: string): string => this.#attribute(name, "string")?.value ?? fallback;
  ints = (name: string): readonly number[] | null => this.#attribute(name, "ints")?.value ?? null;

  requireInts(name: string): readonly number[] {
    const found = this.ints(name);
    if (found) return found;
    throw this.#invalid(`without ${quoted(name)}`);
  }

  requireInt(name: string): number {
    const found = this.#attribute(name, "int");
    if (found) return found.value;
    throw this.#invalid(`without ${quoted(name)}`);
  }

  input(index: number): Value {
    const found = this.node.inputs[index];
    if (found) return found;
    throw this.#invalid(`without its input ${index + 1}`);
  }

  /** The numbers of a weight that lies in the file; null: the value is none. */
  floatsOf({ name }: Value): Float32Array | null {
    const found = this.#context.known.find(({ value }) => value.name === name);
    if (found?.value.type !== "float32" || found.data.kind !== "inline") return null;
    return new Float32Array(Uint8Array.from(found.data.bytes).buffer);
  }

  output(index: number): Value {
    const found = this.node.outputs[index];
    if (found) return found;
    throw this.#invalid(`without its output ${index + 1}`);
  }

  /** The node with its list attribute as its second input. */
  toInputs(name: string): Node[] {
    const found = this.ints(name);
    if (found === null) return [this.node];
    return [this.with({ inputs: [this.input(0), this.list(found)], without: [name] })];
  }

  with({ attributes = {}, without = [], ...others }: Changes): Node {
    const kept = Object.entries(this.node.attributes).filter(([name]) => !without.includes(name));
    return { ...this.node, ...others, attributes: { ...Object.fromEntries(kept), ...attributes } };
  }

  /** Another node in this one's place. The one that makes the node's own output keeps its name. */
  make(op: string, inputs: readonly Value[], outputs: readonly Value[], attributes: Node["attributes"] = {}): Node {
    const name = outputs[0] === this.node.outputs[0] ? this.node.name : this.#fresh();
    return { ...this.node, name, op, inputs, outputs, attributes };
  }

  value(type: ElementType): Value {
    return { name: this.#fresh(), type, shape: [], unknown: "type" };
  }

  list(values: readonly number[]): Value {
    return this.constant("int64", [values.length], BigInt64Array.from(values, BigInt));
  }

  /** A number of the type of the node's input, as far as the file states it. */
  scalar(value: number): Value {
    const { type } = this.input(0);
    if (type === "float64") return this.constant("float64", [], Float64Array.of(value));
    if (type !== "float32") this.refuse(`over ${type}; float32 and float64 are allowed`);
    return this.constant("float32", [], Float32Array.of(value));
  }

  constant(type: ElementType, shape: readonly number[], data: ArrayBufferView): Value {
    const value: Value = { name: this.#fresh(), type, shape };
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    this.#context.initializers.push({ value, data: { kind: "inline", bytes } });
    return value;
  }

  #fresh(): string {
    const base = this.output(0).name || this.node.name;
    for (;;) {
      const name = `${base}/raised.${this.#made++}`;
      if (this.#context.names.has(name)) continue;
      this.#context.names.add(name);
      return name;
    }
  }
}
