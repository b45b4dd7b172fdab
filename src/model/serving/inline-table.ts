/** Tables that are computed when the graph is built, and stored in it. */
import type { Ops } from "../../graph/ops.js";
import type { Value } from "../../graph/types.js";

/** An fp32 table under its full name; the same name gives the same table. */
export function inlineTable(op: Ops, name: string, shape: readonly number[], data: Float32Array): Value {
  const bytes = new Uint8Array(data.buffer);
  return op.builder.initializer(name, "float32", shape, { kind: "inline", bytes });
}
