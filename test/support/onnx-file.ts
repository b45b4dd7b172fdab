/** Builds ONNX files by hand, of any opset and with any fault. */

import {
  AttributeProtoSchema,
  AttributeProto_AttributeType as AttributeType,
  create,
  encodeModel,
  type GraphProto,
  GraphProtoSchema,
  ModelProtoSchema,
  NodeProtoSchema,
  OperatorSetIdProtoSchema,
  StringStringEntryProtoSchema,
  type TensorProto,
  TensorProtoSchema,
  TensorShapeProto_DimensionSchema,
  TensorShapeProtoSchema,
  TypeProto_TensorSchema,
  TypeProtoSchema,
  ValueInfoProtoSchema,
} from "../../src/onnx/codec.js";

type AttributeValue = number | string | readonly number[] | { readonly float: number } | GraphProto | TensorProto;

export interface NodeSpec {
  readonly op: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly name?: string;
  readonly domain?: string;
  /** Of the modules that the exporter was in, outermost first. */
  readonly scopes?: readonly string[];
  readonly attributes?: Readonly<Record<string, AttributeValue>>;
}

export interface GraphSpec {
  readonly inputs: Readonly<Record<string, readonly (number | string)[]>>;
  readonly outputs: Readonly<Record<string, readonly (number | string)[]>>;
  readonly nodes: readonly NodeSpec[];
  readonly initializers?: readonly TensorProto[];
  /** Element types of inputs and outputs that are not float32 (1). */
  readonly types?: Readonly<Record<string, number>>;
}

export interface FileSpec extends GraphSpec {
  readonly opset?: number;
  readonly domains?: readonly string[];
}

export const floatTensor = (name: string, dims: readonly number[], values: readonly number[]): TensorProto =>
  create(TensorProtoSchema, { name, dataType: 1, dims: dims.map(BigInt), floatData: [...values] });

/** `bits`: of float16. */
export const halfTensor = (name: string, dims: readonly number[], bits: readonly number[]): TensorProto =>
  create(TensorProtoSchema, { name, dataType: 10, dims: dims.map(BigInt), int32Data: [...bits] });

export const intTensor = (name: string, dims: readonly number[], values: readonly number[]): TensorProto =>
  create(TensorProtoSchema, { name, dataType: 7, dims: dims.map(BigInt), int64Data: values.map(BigInt) });

export function graphOf({ inputs, outputs, nodes, initializers = [], types = {} }: GraphSpec): GraphProto {
  const infoOf = ([name, shape]: [string, readonly (number | string)[]]) => {
    const dim = shape.map((size) =>
      create(TensorShapeProto_DimensionSchema, {
        value: typeof size === "number" ? { case: "dimValue", value: BigInt(size) } : { case: "dimParam", value: size },
      }),
    );
    const value = create(TypeProto_TensorSchema, {
      elemType: types[name] ?? 1,
      shape: create(TensorShapeProtoSchema, { dim }),
    });
    return create(ValueInfoProtoSchema, {
      name,
      type: create(TypeProtoSchema, { value: { case: "tensorType", value } }),
    });
  };
  return create(GraphProtoSchema, {
    name: "test",
    input: Object.entries(inputs).map(infoOf),
    output: Object.entries(outputs).map(infoOf),
    initializer: [...initializers],
    node: nodes.map(({ op, inputs: input, outputs: output, name = "", domain = "", scopes = [], attributes = {} }) =>
      create(NodeProtoSchema, {
        opType: op,
        name,
        domain,
        input: [...input],
        output: [...output],
        attribute: Object.entries(attributes).map(([key, value]) => attributeOf(key, value)),
        metadataProps: scopes.length === 0 ? [] : [scopesEntry(scopes)],
      }),
    ),
  });
}

/** As PyTorch's current exporter writes them: the model is "", and the last one is the node's own. */
function scopesEntry(scopes: readonly string[]) {
  const value = `[${["", ...scopes, "node"].map((scope) => `'${scope}'`).join(", ")}]`;
  return create(StringStringEntryProtoSchema, { key: "pkg.torch.onnx.name_scopes", value });
}

function attributeOf(name: string, value: AttributeValue) {
  if (typeof value === "number")
    return create(AttributeProtoSchema, { name, type: AttributeType.INT, i: BigInt(value) });
  if (typeof value === "string") {
    return create(AttributeProtoSchema, { name, type: AttributeType.STRING, s: new TextEncoder().encode(value) });
  }
  if ("float" in value) return create(AttributeProtoSchema, { name, type: AttributeType.FLOAT, f: value.float });
  if ("$typeName" in value) {
    return value.$typeName === "onnx.GraphProto"
      ? create(AttributeProtoSchema, { name, type: AttributeType.GRAPH, g: value })
      : create(AttributeProtoSchema, { name, type: AttributeType.TENSOR, t: value });
  }
  return create(AttributeProtoSchema, { name, type: AttributeType.INTS, ints: value.map(BigInt) });
}

/** The bytes of a file. */
export function onnxFile({ opset = 21, domains = [], ...graph }: FileSpec): Uint8Array {
  return encodeModel(
    create(ModelProtoSchema, {
      irVersion: 4n,
      opsetImport: [["", opset] as const, ...domains.map((domain) => [domain, 1] as const)].map(([domain, version]) =>
        create(OperatorSetIdProtoSchema, { domain, version: BigInt(version) }),
      ),
      graph: graphOf(graph),
    }),
  );
}
