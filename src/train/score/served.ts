/** A decoder with a classification head in the serving engine, which answers rows of texts as task models do. */

import { PooledEngine } from "../../engine/pooled-engine.js";
import { Tensor } from "../../runtime/tensor.js";
import { padRows } from "../../text/tokenizer/rows.js";
import { type ServedOptions, sourceOf, startServed } from "../served.js";
import type { TextParts } from "../tasks/inputs/text-inputs.js";
import type { ServedTask } from "../tasks/served-task.js";
import type { TaskInputs } from "../tasks/types.js";

/** Rows that may wait at once. */
const maxRows = 4096;

/** Starts an engine. Throws what loading the adapter throws. */
export async function openServedScores(options: ServedOptions): Promise<ServedTask> {
  const { engine, adapter } = await startServed(options, maxRows);
  const { config } = options.checkpoint;
  return {
    digest: adapter?.digest ?? null,
    engine: new PooledEngine({ engine, config, modes: ["last"], adapters: adapter && sourceOf(adapter) }),
    [Symbol.asyncDispose]: () => engine.close(),
  };
}

/** Texts as rows of ids, which the engine takes without their padding. */
export const scoreInputs: TaskInputs<TextParts> = {
  async feeds(sources) {
    const texts = sources.flatMap((parts) => [...parts]);
    const longest = Math.max(1, ...texts.map(({ ids }) => ids.length));
    const { inputIds, attentionMask, length } = padRows(texts, { padId: 0, padTypeId: 0, padLeft: false }, longest);
    const shape = [texts.length, length];
    return new Map<string, Tensor>([
      ["input_ids", Tensor.from("int64", shape, inputIds)],
      ["attention_mask", Tensor.from("int64", shape, attentionMask)],
    ]);
  },
};
