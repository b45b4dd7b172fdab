/** A stretch of a graph that knows its own gradient: for products without a rule, for cheaper forms, for recomputation. */
import type { Ops } from "./ops.js";
import type { Value } from "./types.js";

/**
 * Between `inputs` and `outputs` the backward walk asks `vjp` and not the nodes. The last output's node must stand behind
 * the nodes of all inputs.
 */
export interface CustomGradient {
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
  /**
   * Gradients of the inputs, in their order, for those of the outputs (null: none arrived). null passes nothing on, and
   * where `wanted` is false nothing need be made. What the way forwards made is read through `kept`: it may have been made again.
   */
  vjp(
    op: Ops,
    gradients: readonly (Value | null)[],
    wanted: readonly boolean[],
    kept: (value: Value) => Value,
  ): readonly (Value | null)[];
}
