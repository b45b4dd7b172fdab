/** Encodes and decodes ONNX files. The messages are generated from the ONNX project's own definition (`onnx_pb.ts`). */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type ModelProto, ModelProtoSchema } from "./onnx_pb.js";

export * from "./onnx_pb.js";
export { create };

export function encodeModel(model: ModelProto): Uint8Array {
  return toBinary(ModelProtoSchema, model);
}

export function decodeModel(bytes: Uint8Array): ModelProto {
  return fromBinary(ModelProtoSchema, bytes);
}
