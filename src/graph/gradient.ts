/** Custom gradients of a subgraph: for products without a rule, for cheaper forms, and for recomputation. */
import type { Ops } from "./ops.js";
import type { Value } from "./types.js";

/**
 * Between `inputs` and `outputs` the backward pass calls `vjp` instead of the nodes' rules. The node of the last output must come
 * after the nodes of all inputs.
 */
export interface CustomGradient {
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
  /**
   * Gradients of the inputs, in their order, from those of the outputs (null: no gradient arrived). Returns null for an input
   * without a gradient; where `wanted` is false none is needed. Read values of the forward pass through `forward`, which
   * returns the recomputed copy if the value was not kept.
   */
  vjp(
    op: Ops,
    gradients: readonly (Value | null)[],
    wanted: readonly boolean[],
    forward: (value: Value) => Value,
  ): readonly (Value | null)[];
}
