/** Merges an adapter into its task model, and writes the result as a model's folder. */

import { writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { loadTaskAdapter } from "../../adapter/format.js";
import { assert, LorikeetError } from "../../base/errors.js";
import { at } from "../../base/list.js";
import { type FoldedModule, foldAdapter } from "../../engine/task/folded.js";
import type { Graph } from "../../graph/types.js";
import type { TaskTarget } from "../../model/task/adapter-targets.js";
import { manifestName } from "../../model/task/manifest.js";
import type { TaskModel } from "../../model/task/open.js";
import type { TaskModule } from "../../model/task/target-modules.js";
import type { LayerChange } from "../../model/task/untied.js";
import { floatsOf } from "../../model/task/weight-values.js";
import type { WeightedNode } from "../../model/task/weighted-nodes.js";
import { transpose } from "../../tensor/transpose.js";
import { replaceFolder, requireReplaceable } from "../files/merged-folder.js";
import { changedGraphs, keptManifest, writeTaskModel } from "./model-files.js";

export interface MergeTaskOptions {
  readonly model: TaskModel;
  readonly targets: readonly TaskTarget[];
  /** A PEFT folder. */
  readonly adapter: string;
  readonly out: string;
  readonly overwrite: boolean;
}

export interface MergedTask {
  /** Modules that the adapter changed. */
  readonly changed: number;
  readonly modules: number;
}

/**
 * Writes a draft and renames it. Throws `conflict` if `out` is not to be replaced, `adapter_unsupported` for what the base's weights cannot hold, and what
 * loading the adapter throws.
 */
export async function mergeTaskAdapter(options: MergeTaskOptions): Promise<MergedTask> {
  const { model, targets, overwrite } = options;
  const out = resolve(options.out);
  await requireReplaceable({ out, overwrite, marker: { file: manifestName, noun: "merged model" } });
  const adapter = await loadTaskAdapter(options.adapter, targets);
  const { modules } = await foldAdapter(adapter, model.modules);
  const changes = new Map<Graph, LayerChange[]>();
  for (const [module, folded] of modules) {
    for (const { graph, target } of module.uses) {
      const change = { path: module.path, target, ...(await mergedLayer(module, target, folded)) };
      changes.set(graph.graph, [...(changes.get(graph.graph) ?? []), change]);
    }
  }
  await replaceFolder(out, async (draft) => {
    await writeTaskModel(draft, { model, graphs: changedGraphs(model, changes), labels: adapter.labels });
    // The weights are the file's own: no normalization is folded into them that an adapter would have to know.
    const { labels: baseLabels, ...kept } = await keptManifest(model);
    const labels = baseLabels === undefined ? {} : { labels: adapter.labels ?? baseLabels };
    const manifest = { ...kept, ...labels, foldedNorms: false };
    await writeFile(join(draft, manifestName), `${JSON.stringify(manifest, null, 2)}\n`);
  });
  return { changed: modules.size, modules: model.modules.length };
}

/** Of one use of a module: W (1 + gain) + A B and its bias, or the adapter's own layer. */
async function mergedLayer(
  module: TaskModule,
  { weight, bias, kind, outFirst }: WeightedNode,
  folded: FoldedModule,
): Promise<Pick<LayerChange, "weight" | "bias">> {
  const { path, groups } = module;
  if (groups > 1 && folded.a) {
    const clause = `its adapter's A reads all channels, so their product fits no convolution with ${groups} groups, which PEFT does not merge either; leave it out of --target-modules to train an adapter that can be merged`;
    throw unmergeable(path, clause);
  }
  const shape = weight.value.shape.map(Number);
  if (folded.whole) {
    const { weight: values, outFeatures, bias: own } = folded.whole;
    const stored = kind === "linear" && outFirst ? transpose(values, module.inFeatures, outFeatures) : values;
    if (kind === "norm") {
      const ofBias = own && bias && { shape: bias.values.value.shape.map(Number), data: own };
      return { weight: { shape, data: values }, bias: ofBias };
    }
    const axis = kind === "convolution" || (kind === "linear" && outFirst) ? 0 : 1;
    if (own && !bias) throw unmergeable(path, "its head has a bias, and the base has none");
    const { shift } = folded; // of a normalization that was folded into it
    const base = own ?? (shift && bias ? await floatsOf(bias.values) : null);
    return {
      weight: { shape: shape.with(axis, outFeatures), data: stored },
      bias: base && {
        shape: [outFeatures],
        data: shift ? base.map((value, output) => value + at(shift, output)) : base,
      },
    };
  }
  const changesWeight = folded.a !== null || folded.gain !== null;
  const values = changesWeight ? (await floatsOf(weight)).slice() : null;
  if (values) addTo(values, module, folded, kind === "convolution" || outFirst);
  const { shift } = folded;
  if (shift && !bias) throw unmergeable(path, "its adapter adds a bias, and the base has none");
  const own = shift && bias && (await floatsOf(bias.values));
  return {
    weight: values && { shape, data: values },
    bias: own && {
      shape: bias.values.value.shape.map(Number),
      data: own.map((value, output) => value + at(shift, output)),
    },
  };
}

function unmergeable(path: string, clause: string): LorikeetError {
  const message = `The module ${path} cannot be merged: ${clause}. Serve the adapter unmerged.`;
  return new LorikeetError("adapter_unsupported", message, { param: "--adapter", found: path });
}

/** `outFirst`: whether an output's values lie side by side. */
function addTo(
  values: Float32Array,
  { kind, outFeatures }: TaskModule,
  { a, b, rank, gain }: FoldedModule,
  outFirst: boolean,
): void {
  const inputs = values.length / outFeatures;
  const isConvolution = kind === "convolution";
  const isOutFirst = outFirst && kind !== "table";
  for (let output = 0; output < outFeatures; output++) {
    for (let input = 0; input < inputs; input++) {
      const place = isOutFirst ? output * inputs + input : input * outFeatures + output;
      let value = at(values, place) * (1 + (gain?.[output] ?? 0));
      if (a && b) {
        for (let r = 0; r < rank; r++) {
          // Convolutions have A [rank, in] and B [out, rank]; others A [in, rank] and B [rank, out].
          value += isConvolution
            ? at(a, r * inputs + input) * at(b, output * rank + r)
            : at(a, input * rank + r) * at(b, r * outFeatures + output);
        }
      }
      values[place] = value;
    }
  }
  assert(values.every(Number.isFinite), "merged weights are numbers");
}
