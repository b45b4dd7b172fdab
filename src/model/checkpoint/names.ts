/** Maps the spellings of tensor names to the one that transformers writes now. */

import { assert } from "../../base/errors.js";
import type { CheckpointNames } from "../families/family.js";
import { familyNamed } from "../families/registry.js";

function namesOf(familyName: string): CheckpointNames {
  const family = familyNamed(familyName);
  assert(family, `${familyName} is a family`);
  return family.names;
}

/** Whether a stored tensor belongs to another model beside the decoder. */
export const isForeign = (familyName: string, stored: string): boolean =>
  namesOf(familyName).foreign?.test(stored) === true;

/** Whether checkpoints of the family hold other models beside the decoder. */
export const hasForeign = (familyName: string): boolean => namesOf(familyName).foreign !== undefined;

/**
 * The canonical name of a stored tensor of the decoder, or null for a buffer that the model computes itself: causal masks and
 * the rotary frequencies of old checkpoints. A missing prefix is added.
 */
export function canonicalName(familyName: string, stored: string): string | null {
  const { prefix, head = "lm_head", spellings = [], buffers } = namesOf(familyName);
  const spelling = spellings.find(([other]) => stored.startsWith(other));
  const spelled = spelling ? spelling[1] + stored.slice(spelling[0].length) : stored;
  const name = spelled.startsWith(prefix) || spelled.startsWith(`${head}.`) ? spelled : prefix + spelled;
  return buffers.test(name) ? null : name;
}
