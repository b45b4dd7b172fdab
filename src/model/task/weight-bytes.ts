/** How much memory a task model's weights take. */

import type { TaskModel } from "./open.js";

/** Bytes of the initializers of each file. The graphs of one file share them. */
export function taskWeightBytes({ opened }: Pick<TaskModel, "opened">): number {
  const initializers = opened.flatMap(({ graphs }) => graphs[0]?.graph.initializers ?? []);
  const bytesOf = initializers.map(({ data }) => (data.kind === "inline" ? data.bytes.byteLength : data.byteLength));
  return bytesOf.reduce((sum, bytes) => sum + bytes, 0);
}
