/** The spellings of tensor names in the wild, brought to the one that transformers writes now. Knows no file. */

import type { Family } from "../types.js";

/**
 * The canonical name of a stored tensor, or null for a buffer that the model computes itself: gpt2's causal masks and the
 * rotary frequencies of old checkpoints. A missing `model.` or `transformer.` prefix is added.
 */
export function canonicalName(family: Family, stored: string): string | null {
  const prefix = family === "gpt2" ? "transformer." : "model.";
  const name = stored.startsWith(prefix) || stored.startsWith("lm_head.") ? stored : prefix + stored;
  const isBuffer =
    family === "gpt2"
      ? /^transformer\.h\.\d+\.attn\.(bias|masked_bias)$/.test(name)
      : /^model\.(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq$/.test(name);
  return isBuffer ? null : name;
}
