/**
 * Reads an ONNX file as a graph, the inverse of `serializeGraph`. Whatever the bytes are, the result is a graph whose names, sizes and
 * order hold together, in the opset that graphs are written in, or one error: ONNX Runtime never sees a file that was not read here.
 */

import { LorikeetError } from "../base/errors.js";
import {
  type AttributeProto,
  AttributeProto_AttributeType as AttributeType,
  decodeModel,
  type GraphProto,
  type ModelProto,
  type NodeProto,
  type TensorProto,
  type ValueInfoProto,
} from "../onnx/codec.js";
import type { LocateExternal } from "./external.js";
import { type OnnxFault, onnxFault, quoted } from "./onnx-fault.js";
import { raiseGraph } from "./raise.js";
import { elementTypeOf, type ReadTensor, readTensor } from "./read-tensor.js";
import { sortNodes } from "./sort.js";
import type { Attribute, Dim, Graph, Initializer, Node, Value } from "./types.js";

export interface OnnxModel {
  /** As the file has it; `graph` is raised to `onnxOpset`. */
  readonly opset: number;
  /** The exporter and its version; empty if the file does not say. */
  readonly producer: string;
  readonly graph: Graph;
}

/** Opsets whose files can be raised or lowered to `onnxOpset`. Later ones only add types to the operators that are known here. */
export const opsets = { min: 9, max: 25 } as const;

const maxDepth = 16;

/** Reads the bytes of an ONNX file. `label` names the file in errors. Throws LorikeetError `model_invalid` or `model_unsupported`. */
export function readOnnx(bytes: Uint8Array, label: string, locate: LocateExternal): OnnxModel {
  const fault = onnxFault(label);
  const model = decoded(bytes, fault);
  if (!model.graph) throw fault.invalid("holds no graph");
  const opset = opsetOf(model, fault);
  if (model.functions.length > 0) {
    const [{ domain, name } = { domain: "", name: "" }] = model.functions;
    throw fault.unsupported(
      `defines its own function ${quoted(`${domain}.${name}`)}; files with functions inlined are allowed`,
    );
  }
  const names = new Set<string>();
  const graph = new GraphReader({ fault, locate, opset, names }, null, 1).read(model.graph);
  const producer = `${model.producerName} ${model.producerVersion}`.trim();
  return { opset, producer, graph: raiseGraph(graph, opset, names, fault) };
}

function decoded(bytes: Uint8Array, fault: OnnxFault): ModelProto {
  try {
    return decodeModel(bytes);
  } catch (cause) {
    // Also a RangeError: messages nested deeper than the stack.
    throw fault.invalid("is not an ONNX model: its bytes cannot be decoded", cause);
  }
}

/** ONNX's own domain has two names. */
const domainOf = (domain: string): string => (domain === "ai.onnx" ? "" : domain);

const domains = ["ai.onnx", "com.microsoft"];

function opsetOf({ opsetImport }: ModelProto, fault: OnnxFault): number {
  const own = opsetImport.filter(({ domain }) => domainOf(domain) === "");
  const [first] = own;
  if (!first || own.length > 1) throw fault.invalid(`states ${own.length} opsets; one is allowed`);
  const { version } = first;
  if (version >= BigInt(opsets.min) && version <= BigInt(opsets.max)) return Number(version);
  throw fault.unsupported(`has opset ${version}; ${opsets.min} to ${opsets.max} are allowed`);
}

interface Context {
  readonly fault: OnnxFault;
  readonly locate: LocateExternal;
  readonly opset: number;
  /** Names of all values of the file. */
  readonly names: Set<string>;
}

/** Reads one graph of a file: the main one, a branch or a loop's body. */
class GraphReader {
  readonly #context: Context;
  readonly #outer: GraphReader | null;
  readonly #depth: number;
  readonly #values = new Map<string, Value>();
  readonly #initializers: Initializer[] = [];
  readonly #nodeNames = new Set<string>();
  readonly #stated = new Map<string, Value>();

  constructor(context: Context, outer: GraphReader | null, depth: number) {
    this.#context = context;
    this.#outer = outer;
    this.#depth = depth;
  }

  read(proto: GraphProto): Graph {
    const { fault } = this.#context;
    if (this.#depth > maxDepth) throw fault.invalid(`nests graphs deeper than ${maxDepth} levels`);
    const [sparse] = proto.sparseInitializer;
    if (sparse)
      throw fault.unsupported(`has the sparse tensor ${quoted(sparse.values?.name ?? "")}; dense ones are allowed`);
    for (const tensor of proto.initializer) this.#addTensor(tensor.name, tensor);
    const weights = new Set(this.#values.keys());
    const inputs = proto.input.flatMap((info) => this.#readInput(info, weights));
    for (const info of [...proto.valueInfo, ...proto.output]) {
      const value = this.#valueOf(info);
      if (value.unknown !== "type") this.#stated.set(value.name, value);
    }
    this.#claimNodeNames(proto.node);
    const pending = proto.node.flatMap((node, index) => this.#define(node, index));
    const nodes = sortNodes(pending.map(({ node, name, outputs }) => this.#readNode(node, name, outputs)));
    if ("cyclic" in nodes)
      throw fault.invalid(`has a cycle: node ${quoted(nodes.cyclic.name)} depends on its own output`);
    const outputs = proto.output.map((info) => this.#readOutput(info));
    if (this.#outer === null) {
      if (inputs.length === 0) throw fault.unsupported("has no inputs, so there is nothing to ask it");
      this.#requireDistinct(outputs);
    }
    return { name: proto.name, inputs, outputs, nodes, initializers: this.#initializers };
  }

  #addTensor(name: string, tensor: TensorProto): void {
    const { locate, fault } = this.#context;
    this.#addInitializer(name, readTensor(tensor, `tensor ${quoted(name)}`, locate, fault));
  }

  #addInitializer(name: string, { type, shape, data }: ReadTensor): void {
    const value: Value = { name, type, shape };
    this.#claim(value, `tensor ${quoted(name)}`);
    this.#initializers.push({ value, data });
  }

  #claim(value: Value, what: string): void {
    const { fault, names } = this.#context;
    if (value.name === "") throw fault.invalid(`has ${what} without a name`);
    if (this.#values.has(value.name))
      throw fault.invalid(`defines ${quoted(value.name)} twice, the second time as ${what}`);
    this.#values.set(value.name, value);
    names.add(value.name);
  }

  /** An initializer that is also listed as an input, as older files do, stays a weight. */
  #readInput(info: ValueInfoProto, weights: ReadonlySet<string>): Value[] {
    if (weights.has(info.name)) return [];
    const value = this.#valueOf(info);
    if (this.#outer === null) this.#requireTensor(info, value, "input");
    this.#claim(value, "an input");
    return [value];
  }

  #readOutput(info: ValueInfoProto): Value {
    const { fault } = this.#context;
    const made = this.#find(info.name);
    if (made === null) throw fault.invalid(`has an output ${quoted(info.name)} that no node produces`);
    const value = this.#valueOf(info);
    if (this.#outer === null) this.#requireTensor(info, value, "output");
    return value;
  }

  #requireDistinct(outputs: readonly Value[]): void {
    const { fault } = this.#context;
    const names = new Set<string>();
    for (const { name } of outputs) {
      if (names.has(name)) throw fault.invalid(`lists the output ${quoted(name)} twice`);
      names.add(name);
    }
    if (names.size === 0) throw fault.invalid("has no outputs");
  }

  #requireTensor({ name, type }: ValueInfoProto, value: Value, what: string): void {
    const { fault } = this.#context;
    if (value.unknown !== "type") return;
    const kind = type?.value.case;
    const owner = `${what} ${quoted(name)}`;
    if (kind === "tensorType") elementTypeOf(type?.value.value?.elemType as number, owner, fault);
    throw fault.unsupported(
      `has an ${owner} that is ${kind ? `of the kind ${kind}` : "of no stated type"}; tensors are allowed`,
    );
  }

  /** What a ValueInfo states. A type that a graph cannot hold counts as not stated. */
  #valueOf({ name, type }: ValueInfoProto): Value {
    const { fault } = this.#context;
    const tensor = type?.value.case === "tensorType" ? type.value.value : null;
    const nothing: Value = { name, type: "float32", shape: [], unknown: "type" };
    if (!tensor) return nothing;
    const what = `value ${quoted(name)}`;
    let element: Value["type"];
    try {
      element = elementTypeOf(tensor.elemType, what, fault);
    } catch (error) {
      if (error instanceof LorikeetError) return nothing;
      throw error;
    }
    if (!tensor.shape) return { name, type: element, shape: [], unknown: "shape" };
    const shape = tensor.shape.dim.map(({ value }, axis): Dim => {
      // Some exporters write -1 for a size that they do not know.
      if (value.case !== "dimValue" || value.value === -1n)
        return (value.case === "dimParam" && value.value) || `${name}.${axis}`;
      if (value.value < 0n || value.value > BigInt(Number.MAX_SAFE_INTEGER)) {
        throw fault.invalid(`gives ${what} a size of ${value.value}; 0 or more is allowed`);
      }
      return Number(value.value);
    });
    return { name, type: element, shape };
  }

  #find(name: string): Value | null {
    const own = this.#values.get(name);
    if (own) return own;
    return this.#outer ? this.#outer.#find(name) : null;
  }

  /** Claims a node's outputs. A Constant becomes an initializer and no node. */
  #define(node: NodeProto, index: number): { node: NodeProto; name: string; outputs: Value[] }[] {
    const { fault } = this.#context;
    const name = this.#nameOf(node, index);
    const what = `node ${quoted(name)}`;
    if (domainOf(node.domain) === "" && node.opType === "Constant") {
      const [output] = node.output;
      if (output === undefined) throw fault.invalid(`has ${what}, a Constant without an output`);
      this.#addInitializer(output, this.#constantOf(node, what));
      return [];
    }
    const outputs = node.output.map((output): Value => {
      const value = this.#stated.get(output) ?? { name: output, type: "float32", shape: [], unknown: "type" };
      if (output !== "") this.#claim(value, `an output of ${what}`);
      return value;
    });
    return [{ node, name, outputs }];
  }

  #claimNodeNames(nodes: readonly NodeProto[]): void {
    for (const { name } of nodes) {
      if (name === "") continue;
      if (this.#nodeNames.has(name)) throw this.#context.fault.invalid(`has two nodes with the name ${quoted(name)}`);
      this.#nodeNames.add(name);
    }
  }

  /** The node's own name, or one that no other node of the graph has. */
  #nameOf({ name, opType }: NodeProto, index: number): string {
    if (name !== "") return name;
    let made = `${opType}.${index}`;
    while (this.#nodeNames.has(made)) made += "_";
    this.#nodeNames.add(made);
    return made;
  }

  #constantOf(node: NodeProto, what: string): ReadTensor {
    const { fault, locate } = this.#context;
    const [attribute, ...others] = node.attribute;
    if (!attribute || others.length > 0)
      throw fault.invalid(`has ${what}, a Constant of ${node.attribute.length} values; one is allowed`);
    const inline = (type: ReadTensor["type"], shape: number[], view: ArrayBufferView): ReadTensor => {
      return {
        type,
        shape,
        data: { kind: "inline", bytes: new Uint8Array(view.buffer, view.byteOffset, view.byteLength) },
      };
    };
    switch (attribute.name) {
      case "value":
        if (attribute.t) return readTensor(attribute.t, what, locate, fault);
        break;
      case "value_float":
        return inline("float32", [], Float32Array.of(attribute.f));
      case "value_floats":
        return inline("float32", [attribute.floats.length], Float32Array.from(attribute.floats));
      case "value_int":
        return inline("int64", [], BigInt64Array.of(attribute.i));
      case "value_ints":
        return inline("int64", [attribute.ints.length], BigInt64Array.from(attribute.ints));
    }
    throw fault.unsupported(
      `has ${what}, a Constant with ${quoted(attribute.name)}; dense tensors of numbers are allowed`,
    );
  }

  #readNode(node: NodeProto, name: string, outputs: readonly Value[]): Node {
    const { fault, opset } = this.#context;
    const what = `node ${quoted(name)}`;
    const domain = domainOf(node.domain);
    if (domain !== "" && !domains.includes(domain)) {
      throw fault.unsupported(
        `has ${what} with the operator ${quoted(`${domain}.${node.opType}`)} of opset ${opset}; operators of ${domains.join(" and ")} are allowed`,
      );
    }
    const inputs = node.input.map((input) => {
      if (input === "") return null;
      const value = this.#find(input);
      if (value) return value;
      throw fault.invalid(`has ${what} (${quoted(node.opType)}) that reads ${quoted(input)}, which nothing produces`);
    });
    const attributes: [string, Attribute][] = node.attribute.map((attribute) => [
      attribute.name,
      this.#readAttribute(attribute, what),
    ]);
    if (new Set(attributes.map(([key]) => key)).size < attributes.length) {
      throw fault.invalid(`has ${what} with an attribute that is given twice`);
    }
    const scopes = scopesOf(node);
    const read = { name, op: node.opType, domain, inputs, outputs, attributes: Object.fromEntries(attributes) };
    return scopes.length === 0 ? read : { ...read, scopes };
  }

  #readAttribute(attribute: AttributeProto, owner: string): Attribute {
    const { fault } = this.#context;
    const what = `attribute ${quoted(attribute.name)} of ${owner}`;
    switch (attribute.type) {
      case AttributeType.INT:
        return { kind: "int", value: safeInteger(attribute.i) };
      case AttributeType.FLOAT:
        return { kind: "float", value: attribute.f };
      case AttributeType.STRING:
        return { kind: "string", value: textOf(attribute.s) };
      case AttributeType.INTS:
        return { kind: "ints", value: attribute.ints.map(safeInteger) };
      case AttributeType.FLOATS:
        return { kind: "floats", value: attribute.floats };
      case AttributeType.STRINGS:
        return { kind: "strings", value: attribute.strings.map(textOf) };
      case AttributeType.TENSOR: {
        if (!attribute.t) break;
        const { type, shape, data } = readTensor(attribute.t, what, this.#context.locate, fault);
        if (data.kind !== "inline") throw fault.unsupported(`keeps ${what} in another file`);
        return { kind: "tensor", value: { type, shape, bytes: data.bytes } };
      }
      case AttributeType.GRAPH:
        if (!attribute.g) break;
        return { kind: "graph", value: new GraphReader(this.#context, this, this.#depth + 1).read(attribute.g) };
      default:
        throw fault.unsupported(
          `has the ${what} of type ${AttributeType[attribute.type] ?? attribute.type}, which is not supported`,
        );
    }
    throw fault.invalid(`has the ${what} without a value`);
  }
}

/** Bounds such as "to the end" are written as the largest int64; nothing that a graph counts comes near the largest safe integer. */
function safeInteger(value: bigint): number {
  return Math.max(-Number.MAX_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, Number(value)));
}

const textOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** The module paths that torch.onnx writes as a Python list; its last entry is the operation's name, not a module's. */
function scopesOf({ metadataProps }: NodeProto): string[] {
  const text = metadataProps.find(({ key }) => key === "pkg.torch.onnx.name_scopes")?.value ?? "";
  return [...text.matchAll(/'([^']*)'/g)].flatMap(([, scope]) => scope || []).slice(0, -1);
}
