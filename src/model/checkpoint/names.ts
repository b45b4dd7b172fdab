/** Maps the spellings of tensor names to the one that transformers writes now. */

import { assert } from "../../base/errors.js";
import type { Family } from "../families/family.js";
import { familyNamed } from "../families/registry.js";
import { scoreWeight } from "../modules.js";

function known(familyName: string): Family {
  const family = familyNamed(familyName);
  assert(family, `${familyName} is a family`);
  return family;
}

/** Whether a stored tensor does not belong to the decoder: another model's, or a head used only in training. */
export const isForeign = (familyName: string, stored: string): boolean =>
  known(familyName).names.foreign?.test(stored) === true;

/** Whether the decoder is one of several models that transformers loads from a checkpoint of the family. */
export const isWrapped = (familyName: string): boolean => known(familyName).textConfig !== undefined;

/**
 * The canonical name of a stored tensor of the decoder, or null for a buffer that the model computes itself: causal masks and
 * the rotary frequencies of old checkpoints. A missing prefix is added.
 */
export function canonicalName(familyName: string, stored: string): string | null {
  if (stored === scoreWeight) return stored;
  const { prefix, head = "lm_head", spellings = [], buffers } = known(familyName).names;
  const spelling = spellings.find(([other]) => stored.startsWith(other));
  const spelled = spelling ? spelling[1] + stored.slice(spelling[0].length) : stored;
  const name = spelled.startsWith(prefix) || spelled.startsWith(`${head}.`) ? spelled : prefix + spelled;
  return buffers.test(name) ? null : name;
}
