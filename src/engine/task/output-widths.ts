/** How many values a row's outputs have where adapters bring heads of other sizes: a run computes the widest, and each row keeps its own. */

import type { HostTaskAdapter } from "../../adapter/types.js";
import type { Graph } from "../../graph/types.js";
import { HeadReader } from "../../model/task/head-outputs.js";
import type { TaskModule } from "../../model/task/target-modules.js";
import { takesProduct } from "../../model/task/weighted-nodes.js";
import { elementCount } from "../../tensor/shape.js";
import type { TaskTensor } from "./types.js";

/** How many values an output has along one of its axes, which may count from the end. */
export interface OutputWidth {
  readonly axis: number;
  readonly width: number;
}

/** By output; others have the base's. */
export type OutputWidths = ReadonlyMap<string, OutputWidth>;

/** A layer that decides outputs by itself, as the base has it. */
export interface Head extends OutputWidth {
  readonly path: string;
  readonly outputs: readonly string[];
}

export function headsOf(graph: Graph, modules: readonly TaskModule[]): Head[] {
  const reader = new HeadReader(graph);
  return modules.flatMap(({ path, kind, uses, outFeatures }) => {
    if (!takesProduct(kind)) return [];
    const outputs = uses.flatMap(({ target }) => reader.outputsOf(target.node).names);
    return [{ path, axis: kind === "convolution" ? 1 : -1, width: outFeatures, outputs }];
  });
}

/** Of each output that a head decides: the adapter's own, or the base's. */
export function widthsOf(heads: readonly Head[], adapter: HostTaskAdapter | null): OutputWidths {
  const widths = new Map<string, OutputWidth>();
  if (adapter === null) return widths;
  for (const { path, axis, width, outputs } of heads) {
    const own = adapter.modules.get(path)?.whole?.outFeatures ?? width;
    for (const output of outputs) widths.set(output, { axis, width: own });
  }
  return widths;
}

/** The outputs without the values beyond a row's own widths. */
export function cutToWidths(
  outputs: ReadonlyMap<string, TaskTensor>,
  widths: OutputWidths,
): ReadonlyMap<string, TaskTensor> {
  return new Map(
    [...outputs].map(([name, tensor]) => {
      const { axis, width } = widths.get(name) ?? { axis: -1, width: Number.POSITIVE_INFINITY };
      const size = tensor.shape.at(axis);
      if (size === undefined || width >= size) return [name, tensor] as const;
      const inner = elementCount(tensor.shape.slice(axis)) / size;
      const data = tensor.data.filter((_: number | bigint, i: number) => Math.floor(i / inner) % size < width);
      return [name, { ...tensor, shape: tensor.shape.with(axis, width), data }] as const;
    }),
  );
}
