/**
 * Finds where the rows of a batch lie in the input of each target module, by changing one row at a time and seeing what moves. Graphs
 * reshape and transpose as they like; running one tells what reading it does not.
 */

import { hasCode } from "../../base/errors.js";
import type { Graph } from "../../graph/types.js";
import type { ImageSize } from "../../model/task/image-size.js";
import type { WeightedNode } from "../../model/task/weighted-nodes.js";
import { sameShape } from "../../tensor/shape.js";
import { ProbedGraph, type TrialRunOptions, type Values } from "./probed-graph.js";
import { type FoundLayout, hasEntryPerRow, layoutOf, type RowRuns, valueWithRows } from "./row-layout.js";
import { takesAdapterPerRow } from "./shared-inputs.js";
import { type Trial, TrialInputs } from "./trial-inputs.js";

export interface RowProbe {
  /** Whether several rows can run at once. */
  readonly isBatched: boolean;
  /** Why not; null if they can. */
  readonly reason: string | null;
  /** By node. */
  readonly layouts: ReadonlyMap<WeightedNode, FoundLayout>;
  /** Inputs that the model has run with. */
  readonly trial: Trial | null;
}

export interface ProbeOptions extends TrialRunOptions {
  /** Of the model's configuration; null if it states none. */
  readonly imageSize: ImageSize | null;
}

/** Of the rows that run together. */
const rowSeeds: readonly number[] = [0, 1, 2];
/** Of each row, and of each row changed. */
export const probeSeeds: readonly number[] = [...rowSeeds, ...rowSeeds.map(changedSeed)];
/** Sizes to try for the axes of images that a file only names, after those of the model's configuration. */
const trialSizes = [64, 32, 224, 7];
/** Tokens of trial texts. */
const trialTokens = 7;

function changedSeed(seed: number): number {
  return rowSeeds.length + seed;
}

/** Throws `cancelled`, and what ONNX Runtime throws for a model that it cannot load. */
export async function probeRows(
  graph: Graph,
  targets: readonly WeightedNode[],
  options: ProbeOptions,
): Promise<RowProbe> {
  using probed = await ProbedGraph.open(graph, targets.map(valueWithRows), options);
  const probe = { graph, targets, probed, options };
  const square = trialSizes.map((size): ImageSize => [size, size]);
  const sizes = options.imageSize ? [options.imageSize, ...square] : square;
  const isNamed = graph.inputs.length > 0 && graph.inputs.every(({ shape }) => typeof shape[0] === "string");
  for (const size of sizes) {
    const [height, width] = size;
    const trial = new TrialInputs(graph, { ids: trialTokens, height, width });
    if (!trial.fits) continue;
    const single = await probed.tryRun(trial.of([0]));
    if (!single) continue;
    if (!isNamed) return unbatched(targets, "the first axis of an input has a fixed size", trial);
    const found = await probeBatch(probe, trial);
    if (!found.isBatched || size === options.imageSize) return found;
    // One position for each row looks like a row, wherever the positions of larger images lie.
    const larger = new TrialInputs(graph, { ids: trialTokens, height: 2 * height, width: 2 * width });
    if (!larger.fits || !(await addsEntries(probed, larger, single))) return found;
    return { ...(await probeBatch(probe, larger)), trial };
  }
  return unbatched(targets, "the model did not run with trial inputs", null);
}

/** `probeRows` of a graph whose inputs others have computed. Throws what it throws, and what a run of one row throws. */
export async function probeRowsWith(
  graph: Graph,
  targets: readonly WeightedNode[],
  trial: Trial,
  options: TrialRunOptions,
): Promise<RowProbe> {
  using probed = await ProbedGraph.open(graph, targets.map(valueWithRows), options);
  await probed.run(trial.of([0]));
  return await probeBatch({ graph, targets, probed, options }, trial);
}

/** Of a model that runs one row at a time: what its layers read is that row's. */
function unbatched(targets: readonly WeightedNode[], reason: string, trial: Trial | null): RowProbe {
  const layouts = targets.map((target): [WeightedNode, FoundLayout] => {
    const isUnclear = typeof target.channels?.after === "number";
    return [target, trial && !isUnclear ? "first" : { refusal: reason }];
  });
  return { isBatched: false, reason, layouts: new Map(layouts), trial };
}

interface Probe {
  readonly graph: Graph;
  readonly targets: readonly WeightedNode[];
  readonly probed: ProbedGraph;
  readonly options: TrialRunOptions;
}

async function probeBatch(probe: Probe, trial: Trial): Promise<RowProbe> {
  try {
    return await compareRows(probe, trial);
  } catch (error) {
    if (!hasCode(error, "runtime_failed")) throw error;
    return unbatched(probe.targets, "the model did not run with several rows", trial);
  }
}

async function compareRows({ graph, targets, probed, options }: Probe, trial: Trial): Promise<RowProbe> {
  const runs = await runRows(probed, trial);
  const mixed = graph.outputs.find(({ name }) => !hasEntryPerRow(name, runs));
  if (mixed) {
    return unbatched(targets, `rows of the output ${JSON.stringify(mixed.name)} cannot be told apart`, trial);
  }
  const layouts = new Map(targets.map((target) => [target, layoutOf(target, runs)]));
  // Others take no adapters.
  const adaptable = targets.filter(({ weight }) => weight.value.type === "float32");
  const shared = adaptable.filter((target) => layouts.get(target) === "shared");
  if (shared.length > 0 && !(await takesAdapterPerRow(graph, shared, trial, options))) {
    for (const target of shared) layouts.set(target, "uniform");
  }
  return { isBatched: true, reason: null, layouts, trial };
}

async function runRows(probed: ProbedGraph, trial: Trial): Promise<RowRuns> {
  const base = await probed.run(trial.of(rowSeeds));
  const fewer = await probed.run(trial.of(rowSeeds.slice(1)));
  const changed: Values[] = [];
  for (const [row, seed] of rowSeeds.entries()) {
    changed.push(await probed.run(trial.of(rowSeeds.with(row, changedSeed(seed)))));
  }
  return { base, fewer, changed };
}

/** Whether a value whose first axis has one entry in a run of one row has several in one of larger inputs. */
async function addsEntries(probed: ProbedGraph, larger: Trial, single: Values): Promise<boolean> {
  const inputs = larger.of([0]);
  if ([...inputs].every(([name, { shape }]) => sameShape(shape, single.get(name)?.shape ?? []))) return false;
  const found = await probed.tryRun(inputs);
  if (!found) return false;
  return [...found].some(([name, { shape }]) => single.get(name)?.shape[0] === 1 && shape[0] !== 1);
}
