/** Encodes and decodes ONNX files. The messages are generated from the ONNX project's own definition (`onnx_pb.ts`). */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type ModelProto, ModelProtoSchema } from "./onnx_pb.js";

export * from "./onnx_pb.js";
export { create };

/** The bytes of an ONNX file. */
export function encodeModel(model: ModelProto): Uint8Array {
  return toBinary(ModelProtoSchema, model);
}

/** Reads the bytes of an ONNX file. Throws if they are not a valid message. */
export function decodeModel(bytes: Uint8Array): ModelProto {
  return fromBinary(ModelProtoSchema, bytes);
}
