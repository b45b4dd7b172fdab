/** The base's convolutions in blocks. */

import { setImmediate as nextTurn } from "node:timers/promises";
import type { Initializer, Node } from "../../../graph/types.js";
import { floatsOf } from "../weight-values.js";
import { writeFilters } from "./filters.js";
import type { BlockedConvolution, BlockPlan } from "./plan.js";

export interface BlockedWeights {
  readonly weight: Initializer;
  readonly bias: Initializer | null;
}

export interface Blocks {
  readonly plan: BlockPlan;
  readonly weights: ReadonlyMap<Node, BlockedWeights>;
}

/** Reads and reorders every convolution's weights; other work runs between two of them. */
export async function loadBlocks(plan: BlockPlan): Promise<Blocks> {
  const weights = new Map<Node, BlockedWeights>();
  for (const [node, convolution] of plan.convolutions) {
    weights.set(node, { weight: await weightOf(plan, convolution), bias: await biasOf(convolution) });
    await nextTurn();
  }
  return { plan, weights };
}

/** Bytes of what `loadBlocks` makes. */
export function blocksBytes({ convolutions }: BlockPlan): number {
  const sizes = [...convolutions.values()].map(({ target, inputs, outputs, groups }) => {
    const weight = target.kernel.reduce((product, size) => product * size, (outputs * inputs) / groups);
    return weight + (target.bias && target.outFeatures !== outputs ? outputs : 0);
  });
  return Float32Array.BYTES_PER_ELEMENT * sizes.reduce((sum, size) => sum + size, 0);
}

async function weightOf({ block }: BlockPlan, convolution: BlockedConvolution): Promise<Initializer> {
  const { target, input, outputs, groups } = convolution;
  const { kernel, outFeatures, inFeatures } = target;
  const inputs = convolution.inputs / groups;
  const splitsInputs = input === "blocked" && inputs > 1;
  const window = kernel.reduce((product, size) => product * size, 1);
  const values = new Float32Array(outputs * inputs * window);
  const layout = { block, outputs, inputs, splitsInputs, window };
  writeFilters(values, layout, await floatsOf(target.weight), {
    outputs: outFeatures,
    inputs: inFeatures / target.groups,
  });
  const shape = [outputs, inputs, ...kernel];
  return initializer(`${target.weight.value.name}/${splitsInputs ? "" : "plain "}blocks of ${block}`, shape, values);
}

/** The layer's own, or a padded copy. */
async function biasOf({ target, outputs }: BlockedConvolution): Promise<Initializer | null> {
  const own = target.bias?.values;
  if (!own || target.outFeatures === outputs) return own ?? null;
  const values = new Float32Array(outputs);
  values.set(await floatsOf(own));
  return initializer(`${own.value.name}/padded to ${outputs}`, [outputs], values);
}

function initializer(name: string, shape: readonly number[], values: Float32Array): Initializer {
  return { value: { name, type: "float32", shape }, data: { kind: "inline", bytes: new Uint8Array(values.buffer) } };
}
