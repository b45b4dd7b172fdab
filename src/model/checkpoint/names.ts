/** The spellings of tensor names in the wild, brought to the one that transformers writes now. Knows no file. */

import { assert } from "../../base/errors.js";
import { familyNamed } from "../families/registry.js";

/**
 * The canonical name of a stored tensor, or null for a buffer that the model computes itself: causal masks and the rotary
 * frequencies of old checkpoints. A missing prefix is added.
 */
export function canonicalName(familyName: string, stored: string): string | null {
  const family = familyNamed(familyName);
  assert(family, `${familyName} is a family`);
  const { prefix, buffers } = family.names;
  const name = stored.startsWith(prefix) || stored.startsWith("lm_head.") ? stored : prefix + stored;
  return buffers.test(name) ? null : name;
}
