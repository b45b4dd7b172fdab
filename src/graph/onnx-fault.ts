/** Errors about an ONNX file: each names the file, the node or tensor, what was found and what is allowed. */

import { LorikeetError } from "../base/errors.js";

/** Makes the errors of one file. A clause follows the file's name. */
export interface OnnxFault {
  /** The file is broken or contradicts itself. */
  invalid(clause: string, cause?: unknown): LorikeetError;
  /** The file is well-formed, but uses what is not implemented. */
  unsupported(clause: string): LorikeetError;
}

export function onnxFault(label: string): OnnxFault {
  const error = (code: "model_invalid" | "model_unsupported", clause: string, cause?: unknown): LorikeetError =>
    new LorikeetError(code, `The ONNX file ${label} ${clause}.`, { param: label, cause });
  return {
    invalid: (clause, cause) => error("model_invalid", clause, cause),
    unsupported: (clause) => error("model_unsupported", clause),
  };
}

/** Text from a file for a message: quoted, without control characters, truncated. */
export function quoted(text: string): string {
  const shown = text.length > 100 ? `${text.slice(0, 97)}...` : text;
  return JSON.stringify(shown);
}
