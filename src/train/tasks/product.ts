/** The adapter of a run over a task model, and its checkpoints. */

import type { Product } from "../files/product.js";
import type { Parameter } from "../step.js";
import { type OpenedTaskAdapter, saveTaskAdapter, type TaskAdapterFacts } from "./task-adapter.js";

/** A PEFT folder: checkpoints in float32, the result in `dtype`. */
export function taskAdapterProduct(
  facts: TaskAdapterFacts,
  parameters: readonly Parameter[],
  dtype: "fp32" | "bf16",
  reopen: (folder: string) => Promise<OpenedTaskAdapter>,
): Product {
  const rounds = dtype === "bf16";
  return {
    rounds,
    save: (folder) => saveTaskAdapter(folder, facts, parameters),
    write: (folder) => saveTaskAdapter(folder, facts, parameters, rounds ? "BF16" : "F32"),
    load: async (folder) => await (await reopen(folder)).readInto(parameters),
  };
}
