/** The spellings of tensor names in the wild, brought to the one that transformers writes now. Knows no file. */

import { assert } from "../../base/errors.js";
import { familyNamed } from "../families/registry.js";

/**
 * The canonical name of a stored tensor, or null for what is no weight of the decoder: buffers that the model computes itself
 * (causal masks, the rotary frequencies of old checkpoints) and other models beside it. A missing prefix is added.
 */
export function canonicalName(familyName: string, stored: string): string | null {
  const family = familyNamed(familyName);
  assert(family, `${familyName} is a family`);
  const { prefix, head = "lm_head", spellings = [], foreign, buffers } = family.names;
  if (foreign?.test(stored)) return null;
  const spelling = spellings.find(([other]) => stored.startsWith(other));
  const spelled = spelling ? spelling[1] + stored.slice(spelling[0].length) : stored;
  const name = spelled.startsWith(prefix) || spelled.startsWith(`${head}.`) ? spelled : prefix + spelled;
  return buffers.test(name) ? null : name;
}
