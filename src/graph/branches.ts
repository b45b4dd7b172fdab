/**
 * Splits a graph at an `If` that a boolean input controls. Exporters of encoder-decoders merge a decoder's first step and its later
 * ones into one such `If`. Each value of the flag gives a separate graph; all of them share the weights.
 */

import { LorikeetError } from "../base/errors.js";
import { valueNames } from "./edges.js";
import { bodyNames, pruneGraph } from "./prune.js";
import type { Graph, Node, Value } from "./types.js";

/** Names of the boolean inputs that select the branch of an `If` in the graph. */
export function flagsOf({ inputs, nodes }: Graph): string[] {
  const conditions = new Set(
    nodes.flatMap(({ op, domain, inputs: [first] }) => (op === "If" && domain === "" && first ? [first.name] : [])),
  );
  const isOne = ({ shape }: Value): boolean => shape.every((size) => size === 1);
  return inputs
    .filter((value) => value.type === "bool" && isOne(value) && conditions.has(value.name))
    .map(({ name }) => name);
}

/**
 * The graph for one value of a flag: each `If` over it is replaced by its branch, and unused inputs, including the flag, are
 * dropped. Throws `model_invalid` if a branch cannot take its node's place.
 */
export function chooseBranch(graph: Graph, flag: string, value: boolean): Graph {
  const defined = valueNames(graph);
  const nodeNames = new Set(graph.nodes.map(({ name }) => name));
  const initializers = [...graph.initializers];
  const expand = (node: Node): Node[] => {
    if (node.op !== "If" || node.domain !== "" || node.inputs[0]?.name !== flag) return [node];
    const branch = branchOf(node, value);
    // A branch may name its outputs as its node does.
    for (const { name } of node.outputs) defined.delete(name);
    const joints = joined(node, branch);
    const added = [...valueNames(branch), ...joints.flatMap(({ outputs }) => outputs.map(({ name }) => name))];
    for (const name of added) {
      if (defined.has(name)) throw invalid(node, `has a branch that defines ${JSON.stringify(name)} again`);
      defined.add(name);
    }
    initializers.push(...branch.initializers);
    return [...branch.nodes, ...joints].map((inner) => renamed(inner, nodeNames)).flatMap(expand);
  };
  const expanded = pruneGraph({ ...graph, nodes: graph.nodes.flatMap(expand), initializers });
  const read = new Set(expanded.outputs.map(({ name }) => name));
  for (const { inputs, attributes } of expanded.nodes) {
    for (const name of [...inputs.flatMap((input) => input?.name ?? []), ...bodyNames(attributes)]) read.add(name);
  }
  return { ...expanded, inputs: expanded.inputs.filter(({ name }) => read.has(name)) };
}

/** The node, renamed if its name is taken. */
function renamed(node: Node, taken: Set<string>): Node {
  let { name } = node;
  for (let count = 1; taken.has(name); count++) name = `${node.name}/${count}`;
  taken.add(name);
  return { ...node, name };
}

function branchOf(node: Node, value: boolean): Graph {
  const attribute = node.attributes[value ? "then_branch" : "else_branch"];
  if (attribute?.kind === "graph" && attribute.value.outputs.length === node.outputs.length) return attribute.value;
  throw invalid(node, "lacks a branch with its outputs");
}

/** A branch's outputs, renamed to its node's. */
function joined(node: Node, branch: Graph): Node[] {
  return branch.outputs.flatMap((from, index): Node[] => {
    const to = node.outputs[index];
    if (!to || to.name === "" || to.name === from.name) return [];
    return [
      {
        name: `${node.name}/output.${index}`,
        op: "Identity",
        domain: "",
        inputs: [from],
        outputs: [to],
        attributes: {},
      },
    ];
  });
}

function invalid({ name }: Node, clause: string): LorikeetError {
  return new LorikeetError("model_invalid", `The node ${JSON.stringify(name)}, an If, ${clause}.`);
}
