/** How a task model's outputs become vectors of texts, as `inspect` says it. */

import { readdir } from "node:fs/promises";
import type { TaskModel } from "../model/task/open.js";
import type { VectorLayer } from "../model/task/sentence-modules.js";
import { poolsTexts, readTextHead, type TextHead } from "../model/task/text-head.js";

export type Vectors = Pick<TextHead, "pooling" | "layers" | "normalizes">;

/** null: its graphs give whole vectors, or none of texts. */
export async function describeVectors(model: TaskModel): Promise<Vectors | null> {
  const { folder, manifest, task, opened, addsVectors } = model;
  const graphs = opened.flatMap((file) => file.graphs);
  const pools = graphs.length === 1 && (addsVectors || graphs.every(({ graph }) => poolsTexts(graph)));
  if (task !== "feature-extraction" || !pools) return null;
  const { pooling, layers, normalizes } = await readTextHead(folder, await readdir(folder), { manifest });
  return { pooling, layers, normalizes };
}

export function vectorFields(vectors: Vectors | null): (readonly [string, string])[] {
  if (vectors === null) return [];
  const { pooling, layers, normalizes } = vectors;
  if ("refusal" in pooling) return [["vectors", `none: the model ${pooling.refusal}`]];
  const steps = [pooling.join(" and "), ...layers.map(describeLayer), ...(normalizes ? ["length 1"] : [])];
  return [["vectors", steps.join(", then ")]];
}

function describeLayer(layer: VectorLayer): string {
  if (layer.kind === "unit") return "length 1";
  if (layer.kind === "norm") return layer.folder;
  const { folder, inFeatures, outFeatures, activation } = layer;
  return `${folder} (${inFeatures} to ${outFeatures}, ${activation})`;
}
