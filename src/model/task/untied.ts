/** A graph in which layers that shared a weight have weights of their own, where only some of them change. */

import { valueNames } from "../../graph/edges.js";
import { bodyNames } from "../../graph/prune.js";
import type { Graph, Initializer, Node, Value } from "../../graph/types.js";
import { transpose } from "../../tensor/transpose.js";
import type { NewWeight } from "./rewritten.js";
import type { TaskModule } from "./target-modules.js";
import { biasInput, readsTransposed, type WeightedNode } from "./weighted-nodes.js";

/** What a layer's weight and bias become, each in the order of its initializer; null: they stay. */
export interface LayerChange {
  readonly path: string;
  readonly target: WeightedNode;
  readonly weight: NewWeight | null;
  readonly bias: NewWeight | null;
}

export interface UntiedGraph {
  readonly graph: Graph;
  /** With their uses in this graph. */
  readonly modules: readonly TaskModule[];
  /** By the names of the graph's initializers. */
  readonly weights: ReadonlyMap<string, NewWeight>;
}

/**
 * A weight is replaced in its place if everything that reads it changes alike. Otherwise the layers that change read new initializers.
 */
export function untieWeights(
  original: Graph,
  modules: readonly TaskModule[],
  changes: readonly LayerChange[],
): UntiedGraph {
  const edits = changes.flatMap(editsOf);
  const taken = valueNames(original);
  const weights = new Map<string, NewWeight>();
  const added: Initializer[] = [];
  const inputs = new Map<Node, Map<number, Value>>();
  for (const name of new Set(edits.map(({ from }) => from.value.name))) {
    const ofOne = edits.filter(({ from }) => from.value.name === name);
    const groups = groupsOf(ofOne);
    const [inPlace, ...others] = countReaders(original, name) === ofOne.length ? groups : [null, ...groups];
    if (inPlace?.[0]) weights.set(name, inPlace[0].values);
    for (const edit of others.flatMap((group) => group ?? [])) {
      const value = { ...edit.from.value, name: freeName(edit.name, taken), shape: storedShape(edit) };
      // Its own bytes come with `weights`.
      added.push({ value, data: { kind: "inline", bytes: new Uint8Array() } });
      weights.set(value.name, storedAs(edit));
      inputs.set(edit.node, (inputs.get(edit.node) ?? new Map<number, Value>()).set(edit.input, value));
    }
  }
  if (added.length === 0) return { graph: original, modules, weights };
  const made = new Map(original.nodes.map((node) => [node, withInputs(node, inputs.get(node))]));
  const initializers = [...original.initializers, ...added];
  const graph = { ...original, nodes: [...made.values()], initializers };
  const known = new Map(initializers.map((each) => [each.value.name, each]));
  return { graph, modules: modules.map((module) => moved(module, original, { graph, made, known })), weights };
}

interface Place {
  readonly node: Node;
  readonly input: number;
}

/** One input of a node that gets other values. */
interface Edit extends Place {
  /** What an initializer of its own is called. */
  readonly name: string;
  /** What the input is, perhaps behind transpositions, or behind an Unsqueeze that puts a vector along channels. */
  readonly from: Initializer;
  readonly values: NewWeight;
  /** Whether the input is the initializer transposed. */
  readonly isTransposed: boolean;
  /** Axes of size 1 that the input has behind those of the initializer. */
  readonly addedAxes: number;
}

function weightPlace(target: WeightedNode): Place {
  const { node, kind, bias, input } = target;
  if (kind === "norm" && input !== undefined) return { node, input };
  return kind === "bias" && bias ? biasInput(target, bias) : { node, input: kind === "table" ? 0 : 1 };
}

function editsOf({ path, target, weight, bias }: LayerChange): Edit[] {
  const edits: Edit[] = [];
  if (weight) {
    const view = { isTransposed: readsTransposed(target), addedAxes: addedAxes(target, weight) };
    edits.push({ ...weightPlace(target), name: `${path}.weight`, from: target.weight, values: weight, ...view });
  }
  if (bias && target.bias) {
    const from = target.bias.values;
    const view = { isTransposed: false, addedAxes: addedAxes(target, bias) };
    edits.push({ ...biasInput(target, target.bias), name: `${path}.bias`, from, values: bias, ...view });
  }
  return edits;
}

function addedAxes({ channels }: WeightedNode, { shape }: NewWeight): number {
  const after = channels?.after ?? null;
  if (after === null) return 0;
  const axis = Math.max(
    shape.findLastIndex((size) => size !== 1),
    0,
  );
  return after - (shape.length - 1 - axis);
}

/** Edits with the same values. */
function groupsOf(edits: readonly Edit[]): Edit[][] {
  const groups: Edit[][] = [];
  for (const edit of edits) {
    const same = groups.find(([first]) => first && isSame(first.values, edit.values));
    if (same) same.push(edit);
    else groups.push([edit]);
  }
  return groups;
}

const isSame = (a: NewWeight, b: NewWeight): boolean =>
  a.data.length === b.data.length && a.data.every((value, i) => value === b.data[i]);

/** What gives a value in another form. */
const views: ReadonlySet<string> = new Set(["Transpose", "Identity", "Unsqueeze"]);

/** How many inputs of nodes, bodies and outputs have a value, also behind views of it. */
function countReaders(graph: Graph, initializer: string): number {
  const names = new Set([initializer]);
  let count = 0;
  for (const { op, domain, inputs, outputs, attributes } of graph.nodes) {
    const read = inputs.filter((input) => input && names.has(input.name)).length;
    count += bodyNames(attributes).filter((name) => names.has(name)).length;
    if (read === 0) continue;
    if (domain === "" && views.has(op)) for (const { name } of outputs) names.add(name);
    else count += read;
  }
  return count + graph.outputs.filter(({ name }) => names.has(name)).length;
}

/** `<module>.weight`, or `<module>.untied.weight` where that is another layer's. */
function freeName(wanted: string, taken: Set<string>): string {
  let name = wanted;
  while (taken.has(name)) name = name.replace(/\.(\w+)$/, ".untied.$1");
  taken.add(name);
  return name;
}

const storedShape = ({ values, isTransposed, addedAxes }: Edit): number[] =>
  isTransposed ? values.shape.toReversed() : [...values.shape, ...new Array<number>(addedAxes).fill(1)];

function storedAs(edit: Edit): NewWeight {
  const { values, isTransposed } = edit;
  const [rows = 0, columns = 0] = values.shape;
  return { shape: storedShape(edit), data: isTransposed ? transpose(values.data, rows, columns) : values.data };
}

function withInputs(node: Node, given: ReadonlyMap<number, Value> | undefined): Node {
  return given ? { ...node, inputs: node.inputs.map((input, i) => given.get(i) ?? input) } : node;
}

interface Made {
  readonly graph: Graph;
  readonly made: ReadonlyMap<Node, Node>;
  readonly known: ReadonlyMap<string, Initializer>;
}

/** A module whose uses in the original graph are in the new one. */
function moved(module: TaskModule, original: Graph, { graph, made, known }: Made): TaskModule {
  const nodeOf = (node: Node): Node => made.get(node) ?? node;
  const uses = module.uses.map((use) => {
    if (use.graph.graph !== original) return use;
    const { target } = use;
    const own = ({ node, input }: Place): Initializer | null => {
      const value = nodeOf(node).inputs[input];
      return value && value !== node.inputs[input] ? (known.get(value.name) ?? null) : null;
    };
    const weight = own(weightPlace(target));
    const bias = target.bias && {
      values: own(biasInput(target, target.bias)) ?? target.bias.values,
      add: target.bias.add && nodeOf(target.bias.add),
      ...(target.bias.input === undefined ? {} : { input: target.bias.input }),
    };
    const outFirst = weight && readsTransposed(target) ? !target.outFirst : target.outFirst;
    return {
      graph: { ...use.graph, graph },
      target: { ...target, node: nodeOf(target.node), weight: weight ?? target.weight, outFirst, bias },
    };
  });
  return { ...module, uses };
}
