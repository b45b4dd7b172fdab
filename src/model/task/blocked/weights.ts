/** The base's convolutions in blocks. */

import { setImmediate as nextTurn } from "node:timers/promises";
import type { Initializer, Node } from "../../../graph/types.js";
import { elementCount } from "../../../tensor/shape.js";
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

/** Gives zeroed memory for so many values, where the kernels read it fast. */
export type Allocate = (count: number) => Float32Array<ArrayBuffer>;

/** Reads and reorders every convolution's weights; other work runs between two of them. */
export async function loadBlocks(plan: BlockPlan, allocate: Allocate): Promise<Blocks> {
  const weights = new Map<Node, BlockedWeights>();
  for (const [node, convolution] of plan.convolutions) {
    const weight = await weightOf(plan, convolution, allocate);
    weights.set(node, { weight, bias: await biasOf(convolution, allocate) });
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

async function weightOf(
  { block }: BlockPlan,
  convolution: BlockedConvolution,
  allocate: Allocate,
): Promise<Initializer> {
  const { target, input, outputs, groups } = convolution;
  const { kernel, outFeatures, inFeatures } = target;
  const inputs = convolution.inputs / groups;
  const splitsInputs = input === "blocked" && inputs > 1;
  const window = elementCount(kernel);
  const values = allocate(outputs * inputs * window);
  const layout = { block, outputs, inputs, splitsInputs, window };
  writeFilters(values, layout, await floatsOf(target.weight), {
    outputs: outFeatures,
    inputs: inFeatures / target.groups,
  });
  const shape = [outputs, inputs, ...kernel];
  return initializer(`${target.weight.value.name}/${splitsInputs ? "" : "plain "}blocks of ${block}`, shape, values);
}

/** The layer's own, or a padded copy. */
async function biasOf({ target, outputs }: BlockedConvolution, allocate: Allocate): Promise<Initializer | null> {
  const own = target.bias?.values;
  if (!own || target.outFeatures === outputs) return own ?? null;
  const values = allocate(outputs);
  values.set(await floatsOf(own));
  return initializer(`${own.value.name}/padded to ${outputs}`, [outputs], values);
}

function initializer(name: string, shape: readonly number[], values: Float32Array): Initializer {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return { value: { name, type: "float32", shape }, data: { kind: "inline", bytes } };
}
