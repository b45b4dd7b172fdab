/** Reads from a profile of ONNX Runtime's which kernels ran. */

import { readFile } from "node:fs/promises";
import { isObject } from "../base/json.js";

/** A node that ran. */
export interface RanNode {
  readonly operator: string;
  /** ONNX Runtime's word for what ran it, such as `CPUExecutionProvider`. */
  readonly provider: string;
  /** Element types of its inputs, as ONNX Runtime names them: float, int64, bool. */
  readonly inputTypes: readonly string[];
}

/** The runs of nodes in a profile that `Session.endProfiling` has closed. */
export async function readRanNodes(file: string): Promise<RanNode[]> {
  const events: unknown = JSON.parse(await readFile(file, "utf8"));
  if (!Array.isArray(events)) return [];
  return events.flatMap((event: unknown): RanNode[] => {
    const args = isObject(event) && event.cat === "Node" && isObject(event.args) ? event.args : {};
    const { op_name: operator, provider, input_type_shape: inputs } = args;
    if (typeof operator !== "string" || typeof provider !== "string") return [];
    const inputTypes = Array.isArray(inputs)
      ? inputs.flatMap((input) => (isObject(input) ? Object.keys(input) : []))
      : [];
    return [{ operator, provider, inputTypes }];
  });
}
