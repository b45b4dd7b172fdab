/** How much memory a task model's weights take. */

import { planBlocks } from "./blocked/plan.js";
import { blocksBytes } from "./blocked/weights.js";
import type { TaskModel } from "./open.js";

/**
 * Bytes of the initializers of each file, which its graphs share, and of the copies that convolutions in blocks read once they are adapted.
 * `block`: channels of a block; null: adapters are not served, or this CPU has no such kernels.
 */
export function taskWeightBytes(
  { opened, modules }: Pick<TaskModel, "opened" | "modules">,
  block: number | null,
): number {
  const initializers = opened.flatMap(({ graphs }) => graphs[0]?.graph.initializers ?? []);
  const bytesOf = initializers.map(({ data }) => (data.kind === "inline" ? data.bytes.byteLength : data.byteLength));
  const [only, ...others] = opened.flatMap(({ graphs }) => graphs);
  const blocks = block !== null && only && others.length === 0 ? planBlocks(only.graph, modules, block) : null;
  return bytesOf.reduce((sum, bytes) => sum + bytes, blocks ? blocksBytes(blocks) : 0);
}
