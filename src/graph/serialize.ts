/** Serializes a graph as an ONNX model. Paths of external data are written relative to the root folder `/`. */
import {
  type AttributeProto,
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  create,
  encodeModel,
  type GraphProto,
  GraphProtoSchema,
  ModelProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  OperatorSetIdProtoSchema,
  StringStringEntryProtoSchema,
  TensorProto_DataLocation,
  TensorProto_DataType,
  TensorProtoSchema,
  TensorShapeProto_DimensionSchema,
  TensorShapeProtoSchema,
  TypeProto_TensorSchema,
  TypeProtoSchema,
  ValueInfoProtoSchema,
} from "../onnx/codec.js";
import type { Attribute, ElementType, Graph, Initializer, Node, Value } from "./types.js";

/** The version of ONNX's operators that graphs are written in. */
export const onnxOpset = 21;
const irVersion = 10n;

export const dataType: Readonly<Record<ElementType, TensorProto_DataType>> = {
  float32: TensorProto_DataType.FLOAT,
  float64: TensorProto_DataType.DOUBLE,
  float16: TensorProto_DataType.FLOAT16,
  bfloat16: TensorProto_DataType.BFLOAT16,
  int64: TensorProto_DataType.INT64,
  int32: TensorProto_DataType.INT32,
  int8: TensorProto_DataType.INT8,
  uint8: TensorProto_DataType.UINT8,
  bool: TensorProto_DataType.BOOL,
};

/** The bytes of an ONNX model. External data must have absolute paths. */
export function serializeGraph(graph: Graph): Uint8Array {
  const domains = new Set(["", ...domainsOf(graph)]);
  return encodeModel(
    create(ModelProtoSchema, {
      irVersion,
      producerName: "lorikeet",
      opsetImport: [...domains]
        .sort()
        .map((domain) => create(OperatorSetIdProtoSchema, { domain, version: domain === "" ? BigInt(onnxOpset) : 1n })),
      graph: graphProto(graph),
    }),
  );
}

function graphProto(graph: Graph): GraphProto {
  return create(GraphProtoSchema, {
    name: graph.name,
    input: graph.inputs.map(valueInfo),
    output: graph.outputs.map(valueInfo),
    node: graph.nodes.map(nodeProto),
    initializer: graph.initializers.map(tensorProto),
  });
}

function domainsOf(graph: Graph): string[] {
  return graph.nodes.flatMap(({ domain, attributes }) => {
    const bodies = Object.values(attributes).flatMap(({ kind, value }) => (kind === "graph" ? domainsOf(value) : []));
    return [domain, ...bodies];
  });
}

function valueInfo(value: Value) {
  if (value.unknown === "type") return create(ValueInfoProtoSchema, { name: value.name });
  const dim = value.shape.map((size) =>
    create(TensorShapeProto_DimensionSchema, {
      value: typeof size === "number" ? { case: "dimValue", value: BigInt(size) } : { case: "dimParam", value: size },
    }),
  );
  const tensorType = create(TypeProto_TensorSchema, {
    elemType: dataType[value.type],
    ...(value.unknown ? {} : { shape: create(TensorShapeProtoSchema, { dim }) }),
  });
  return create(ValueInfoProtoSchema, {
    name: value.name,
    type: create(TypeProtoSchema, { value: { case: "tensorType", value: tensorType } }),
  });
}

function nodeProto(node: Node): NodeProto {
  return create(NodeProtoSchema, {
    name: node.name,
    opType: node.op,
    domain: node.domain,
    input: node.inputs.map((value) => value?.name ?? ""),
    output: node.outputs.map((value) => value.name),
    attribute: Object.entries(node.attributes).map(([name, value]) => attributeProto(name, value)),
  });
}

function attributeProto(name: string, attribute: Attribute): AttributeProto {
  switch (attribute.kind) {
    case "int":
      return create(AttributeProtoSchema, {
        name,
        type: AttributeProto_AttributeType.INT,
        i: BigInt(attribute.value),
      });
    case "float":
      return create(AttributeProtoSchema, { name, type: AttributeProto_AttributeType.FLOAT, f: attribute.value });
    case "string":
      return create(AttributeProtoSchema, {
        name,
        type: AttributeProto_AttributeType.STRING,
        s: new TextEncoder().encode(attribute.value),
      });
    case "ints":
      return create(AttributeProtoSchema, {
        name,
        type: AttributeProto_AttributeType.INTS,
        ints: attribute.value.map(BigInt),
      });
    case "floats":
      return create(AttributeProtoSchema, {
        name,
        type: AttributeProto_AttributeType.FLOATS,
        floats: [...attribute.value],
      });
    case "strings":
      return create(AttributeProtoSchema, {
        name,
        type: AttributeProto_AttributeType.STRINGS,
        strings: attribute.value.map((text) => new TextEncoder().encode(text)),
      });
    case "tensor": {
      const { type, shape, bytes } = attribute.value;
      const t = create(TensorProtoSchema, { dataType: dataType[type], dims: shape.map(BigInt), rawData: bytes });
      return create(AttributeProtoSchema, { name, type: AttributeProto_AttributeType.TENSOR, t });
    }
    case "graph": {
      const g = graphProto(attribute.value);
      return create(AttributeProtoSchema, { name, type: AttributeProto_AttributeType.GRAPH, g });
    }
  }
}

function tensorProto({ value, data }: Initializer) {
  const common = {
    name: value.name,
    dataType: dataType[value.type],
    dims: value.shape.map((dim) => BigInt(dim)),
  };
  if (data.kind === "inline") return create(TensorProtoSchema, { ...common, rawData: data.bytes });
  const entry = (key: string, text: string) => create(StringStringEntryProtoSchema, { key, value: text });
  return create(TensorProtoSchema, {
    ...common,
    dataLocation: TensorProto_DataLocation.EXTERNAL,
    externalData: [
      entry("location", data.file.replace(/^\/+/, "")),
      entry("offset", String(data.offset)),
      entry("length", String(data.byteLength)),
    ],
  });
}
