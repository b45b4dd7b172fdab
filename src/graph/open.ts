/** Opens an ONNX file on disk. */

import { stat } from "node:fs/promises";
import { NotRegularFile, readRegular } from "../base/files.js";
import { externalBeside } from "./external.js";
import { onnxFault } from "./onnx-fault.js";
import { type OnnxModel, readOnnx } from "./read.js";

/** What one protobuf message can hold. Larger models keep their weights in files of external data. */
const maxBytes = 2 ** 31 - 1;

/**
 * Reads the ONNX file at `path`. External data stays on disk. `label` names the file in errors. Throws LorikeetError `model_invalid` or
 * `model_unsupported`.
 */
export async function openOnnx(path: string, label: string): Promise<OnnxModel> {
  const fault = onnxFault(label);
  let bytes: Uint8Array;
  try {
    const { size } = await stat(path);
    if (size > maxBytes) throw fault.invalid(`is ${size} bytes long; at most ${maxBytes} are allowed`);
    bytes = await readRegular(path);
  } catch (cause) {
    if (cause instanceof NotRegularFile) throw fault.invalid("is not a regular file", cause);
    if (!(cause instanceof Error && "code" in cause && typeof cause.code === "string") || "param" in cause) throw cause;
    throw fault.invalid(`cannot be read (${cause.code})`, cause);
  }
  return readOnnx(bytes, label, externalBeside(path, fault));
}
