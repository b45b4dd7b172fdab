/** What a training graph keeps in memory between the forward and the backward pass, counted from its values' shapes alone. */
import assert from "node:assert/strict";
import { elementBytes, type Graph, type Node, type Value } from "../../src/graph/types.js";

/** By the layer that makes it, "" outside of layers: bytes of what the forward pass makes and the way back reads. */
export function keptBytes(graph: Graph, sizes: Readonly<Record<string, number>>): Map<string, number> {
  const isBack = ({ name }: Node): boolean => name.startsWith("gradients.");
  const read = new Set(graph.nodes.filter(isBack).flatMap(({ inputs }) => inputs.map((input) => input?.name)));
  const kept = new Map<string, number>();
  for (const node of graph.nodes) {
    if (isBack(node)) continue;
    const layer = /model\.layers\.\d+/.exec(node.name)?.[0] ?? "";
    for (const value of node.outputs) {
      if (value.name === "" || !read.has(value.name)) continue;
      kept.set(layer, (kept.get(layer) ?? 0) + bytesOf(value, sizes));
    }
  }
  return kept;
}

/** Bytes of a value, given its named sizes and products of them. */
function bytesOf({ name, type, shape }: Value, sizes: Readonly<Record<string, number>>): number {
  const sizeOf = (dim: number | string): number =>
    String(dim)
      .split("*")
      .reduce((product, part) => product * (/^\d+$/.test(part) ? Number(part) : (sizes[part] ?? Number.NaN)), 1);
  const bytes = elementBytes[type] * shape.reduce<number>((product, dim) => product * sizeOf(dim), 1);
  assert.ok(Number.isFinite(bytes), `${name} [${shape}]: its sizes are told`);
  return bytes;
}
