/**
 * The form of a serving graph: what the kernels of the device that runs it can do. The defaults are the CPU's. Every form computes
 * the same function.
 *
 * A captured graph replays kernels, not copies of buffers. It is right without adapters, with `masked` ones and with `softcap` plain
 * attention; not with groups of adapters, which scatter rows. ONNX Runtime runs a step several times while it captures it: capture
 * by a step whose rows take no token in, or states of layers without attention advance more than once.
 */

/** Of what a graph computes in. */
export type FloatType = "float32" | "float16";
/** The type of keys and values, and of the attention kernel. */
export type CacheType = FloatType;

export interface ServingTarget {
  /**
   * Which layers compute attention from single operators, because the attention kernel of the device does it wrong. The kernel still
   * rotates keys and writes the cache.
   * - `none`: default.
   * - `softcap`: layers with a softcap. All shapes are those of the slots, so that a captured graph can be replayed; the cost
   *   follows the slots' capacity.
   * - `all`: every layer, for prompts. The cost follows the longest row, and shapes change with it.
   */
  readonly plainAttention?: "none" | "softcap" | "all";
  /** The device can reshape and slice int64. Default true; if not, positions stay int32 as long as they can. */
  readonly int64?: boolean;
  /** Of products with int4 and int8 blocks, as in `LinearOptions`. Default 4. */
  readonly accuracyLevel?: 0 | 4;
  /**
   * Of what layers hand on to one another, of adapters, and of the weights that are not quantized. Default float32. With float16
   * the states of slots, softcaps and plain attention's softmax stay in float32, and logits are widened to it.
   */
  readonly activationType?: FloatType;
  /** Of keys and values. Default float32; float16 halves the cache. CUDA's attention kernel has none but 16-bit ones. */
  readonly cacheType?: CacheType;
}

/** What of a form is a choice, not a consequence of the device's kernels. */
export type Arithmetic = Pick<ServingTarget, "cacheType" | "activationType" | "accuracyLevel">;
