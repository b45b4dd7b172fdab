/** What stacks have room for: the parts and sizes that the adapters so far needed, and the tensors that hold them. */

import { paddedRank } from "../../model/serving/rank-tiles.js";
import { type ModuleParts, stackNames } from "../../model/task/adapted-node.js";
import { padded } from "../../model/task/blocked/filters.js";
import type { BlockedConvolution, BlockPlan } from "../../model/task/blocked/plan.js";
import type { TaskModule } from "../../model/task/target-modules.js";
import { elementCount } from "../../tensor/shape.js";
import type { FoldedAdapter, FoldedModule } from "./folded.js";

/** What the stacks of a module have room for. */
export interface ModulePlan extends ModuleParts {
  readonly module: TaskModule;
  /** The largest padded rank; 0 without products. */
  readonly rank: number;
  /** The largest number of outputs. */
  readonly width: number;
}

export type StackPlan = ReadonlyMap<TaskModule, ModulePlan>;

/** The least plan that holds both the given one and an adapter; the given one if it already does. */
export function widenedPlan(plan: StackPlan, { modules }: FoldedAdapter): StackPlan {
  const wider = new Map(plan);
  let isWider = false;
  for (const [module, folded] of modules) {
    const known = plan.get(module) ?? emptyPlan(module);
    const next = widened(known, folded);
    if (plan.has(module) && Object.entries(next).every(([key, value]) => known[key as keyof ModulePlan] === value))
      continue;
    wider.set(module, next);
    isWider = true;
  }
  return isWider ? wider : plan;
}

const emptyPlan = (module: TaskModule): ModulePlan => {
  return { module, product: false, gain: false, shift: false, whole: false, rank: 0, width: module.outFeatures };
};

function widened(plan: ModulePlan, { rank, gain, shift, whole }: FoldedModule): ModulePlan {
  return {
    module: plan.module,
    product: plan.product || rank > 0,
    gain: plan.gain || gain !== null,
    shift: plan.shift || shift !== null,
    whole: plan.whole || whole !== null,
    rank: rank > 0 ? Math.max(plan.rank, paddedRank(rank)) : plan.rank,
    width: Math.max(plan.width, whole?.outFeatures ?? 0),
  };
}

/** Whether both need the same graph, whatever the sizes. */
export function sameParts(a: StackPlan, b: StackPlan): boolean {
  if (a.size !== b.size) return false;
  return [...a].every(([module, parts]) => {
    const other = b.get(module);
    const keys = ["product", "gain", "shift", "whole"] as const;
    return other !== undefined && keys.every((key) => parts[key] === other[key]);
  });
}

/** A stack, and the shape of one place's entry in it. */
interface Entry {
  readonly name: string;
  readonly shape: readonly number[];
}

/** The plan of convolutions in blocks, for stacks that can be used with it: layers that replace the base's cannot. */
export function blocksOf(plan: StackPlan, blocks: BlockPlan | null): BlockPlan | null {
  const convolutions = [...plan.values()].filter(({ module }) => module.kind === "convolution");
  return convolutions.some(({ product }) => product) && !convolutions.some(({ whole }) => whole) ? blocks : null;
}

/** How a module runs in blocks; its uses are alike. */
export function blockedOf({ uses }: TaskModule, blocks: BlockPlan | null): BlockedConvolution | null {
  const node = uses[0]?.target.node;
  return (node && blocks?.convolutions.get(node)) ?? null;
}

function moduleEntries(plan: ModulePlan, blocks: BlockPlan | null): Entry[] {
  const { module, product, gain, shift, whole, rank, width } = plan;
  const { path, kind, inFeatures, kernel, groups } = module;
  const names = stackNames(path);
  const blocked = blockedOf(module, blocks);
  if (blocks && blocked) {
    const { inputs, outputs } = blocked;
    const ranks = padded(rank, blocks.block);
    return [
      ...(product ? [{ name: names.a, shape: [ranks, inputs, ...kernel] }] : []),
      ...(product ? [{ name: names.b, shape: [outputs, ranks, 1, 1] }] : []),
      ...(gain ? [{ name: names.gain, shape: [outputs] }] : []),
      ...(shift ? [{ name: names.shift, shape: [outputs] }] : []),
    ];
  }
  const isConvolution = kind === "convolution";
  const ofLayer = isConvolution ? [width, inFeatures / groups, ...kernel] : [inFeatures, width];
  const weight = kind === "norm" ? [width] : ofLayer;
  return [
    ...(product ? [{ name: names.a, shape: isConvolution ? [rank, inFeatures, ...kernel] : [inFeatures, rank] }] : []),
    ...(product ? [{ name: names.b, shape: isConvolution ? [width, rank] : [rank, width] }] : []),
    ...(gain ? [{ name: names.gain, shape: [width] }] : []),
    ...(shift ? [{ name: names.shift, shape: [width] }] : []),
    ...(whole ? [{ name: names.weight, shape: weight }] : []),
    ...(whole ? [{ name: names.bias, shape: [width] }] : []),
  ];
}

/** Bytes of one place. */
export function placeBytes(plan: StackPlan, blocks: BlockPlan | null): number {
  return entriesOf(plan, blocks).reduce((sum, { shape }) => sum + 4 * elementCount(shape), 0);
}

/** The stacks of a plan. */
export function entriesOf(plan: StackPlan, blocks: BlockPlan | null): Entry[] {
  const usable = blocksOf(plan, blocks);
  return [...plan.values()].flatMap((module) => moduleEntries(module, usable));
}
