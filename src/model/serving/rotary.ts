/** Names and factors of the rotary tables that a serving graph reads. */
import { assert } from "../../base/errors.js";
import { at } from "../../base/list.js";
import type { Blueprint } from "../blueprint.js";
import { attentions } from "../modules.js";
import { kernelRotates } from "../rope.js";

type Rotated = Pick<Blueprint, "ropes" | "layers"> & { readonly headDim: number };

/** Names of a rope's cos and sin. */
export function rotaryNames(rope: number): { readonly cos: string; readonly sin: string } {
  const name = rope === 0 ? "rotary" : `rotary.${rope}`;
  return { cos: `${name}.cos`, sin: `${name}.sin` };
}

/** Whether the kernel turns whole heads. The tables then hold the root of the scale: a query times a key has all of it. */
export const holdsScale = ({ ropes, headDim }: Rotated, rope: number): boolean =>
  at(ropes, rope).rotaryDim === headDim && kernelRotates(at(ropes, rope), headDim);

/** The factor of a rope's cos and sin. Layers that share a rope share a scale. */
export function rotationFactor(config: Rotated, rope: number): number {
  if (!holdsScale(config, rope)) return 1;
  const scales = attentions(config).flatMap((attention) => (attention.rope === rope ? [attention.scale] : []));
  assert(new Set(scales).size <= 1, `layers of rope ${rope} share a scale`);
  return Math.sqrt(scales[0] ?? 1);
}
