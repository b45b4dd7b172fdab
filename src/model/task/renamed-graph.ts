/** A graph whose inputs and outputs have other names, as a manifest gives them. */

import { LorikeetError } from "../../base/errors.js";
import { valueNames } from "../../graph/edges.js";
import type { Attribute, Graph, Node, Value } from "../../graph/types.js";
import { manifestName } from "./manifest.js";

type Names = ReadonlyMap<string, string>;

/** `inputs` and `outputs`: the graph's names by the new ones. Throws `model_invalid` for names that the graph does not have or already uses. */
export function renameGraph(graph: Graph, inputs: Names, outputs: Names, label: string): Graph {
  const names = new Map([
    ...renamed(graph.inputs, inputs, "input", label),
    ...renamed(graph.outputs, outputs, "output", label),
  ]);
  const used = valueNames(graph);
  for (const [own, name] of names) {
    if (own === name || !used.has(name) || names.has(name)) continue;
    throw fault(
      `gives the name ${JSON.stringify(name)} to ${JSON.stringify(own)}, and ${label} has another value of that name`,
    );
  }
  return names.size === 0 ? graph : withNames(graph, names);
}

/** New names by the graph's. */
function renamed(values: readonly Value[], asked: Names, kind: string, label: string): (readonly [string, string])[] {
  return [...asked].map(([name, own]) => {
    if (values.some((value) => value.name === own)) return [own, name] as const;
    const known = values.map((value) => value.name).join(", ");
    throw fault(`names the ${kind} ${JSON.stringify(own)}; ${label} has ${known}`);
  });
}

function withNames(graph: Graph, names: Names): Graph {
  const value = (old: Value): Value => {
    const name = names.get(old.name);
    return name === undefined ? old : { ...old, name };
  };
  const attribute = (old: Attribute): Attribute =>
    old.kind === "graph" ? { ...old, value: withNames(old.value, names) } : old;
  const node = (old: Node): Node => ({
    ...old,
    inputs: old.inputs.map((input) => input && value(input)),
    outputs: old.outputs.map(value),
    attributes: Object.fromEntries(Object.entries(old.attributes).map(([key, item]) => [key, attribute(item)])),
  });
  return {
    ...graph,
    inputs: graph.inputs.map(value),
    outputs: graph.outputs.map(value),
    nodes: graph.nodes.map(node),
    initializers: graph.initializers.map((initializer) => ({ ...initializer, value: value(initializer.value) })),
  };
}

const fault = (clause: string): LorikeetError =>
  new LorikeetError("model_invalid", `${manifestName} ${clause}.`, { param: manifestName });
