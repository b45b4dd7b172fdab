/** The rotary tables that a serving graph reads: their names, factors and values. */
import { assert } from "../../base/errors.js";
import { at } from "../../base/list.js";
import type { Ops } from "../../graph/ops.js";
import type { Value } from "../../graph/types.js";
import type { Blueprint } from "../blueprint.js";
import { attentions } from "../modules.js";
import { dependsOnLength, kernelRotates, steppedTables } from "../rope.js";
import { inlineTable } from "./inline-table.js";

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

/** cos and sin, each [capacity, rotaryDim / 2]. */
export type RotaryTables = readonly [cos: Value, sin: Value];

/** The tables of each rope: inputs where they depend on the length of the text. */
export function buildRotaryTables(op: Ops, config: Rotated, capacity: number): RotaryTables[] {
  return config.ropes.map((rope, i) => {
    const names = rotaryNames(i);
    const shape = [capacity, rope.rotaryDim / 2];
    if (dependsOnLength(rope)) {
      return [op.builder.input(names.cos, "float32", shape), op.builder.input(names.sin, "float32", shape)];
    }
    const { cos, sin } = steppedTables(rope, capacity, rotationFactor(config, i));
    return [inlineTable(op, names.cos, shape, cos), inlineTable(op, names.sin, shape, sin)];
  });
}
