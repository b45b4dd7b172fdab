/** Encoder and decoder as one graph, for training: from the source and the decoder's inputs to the logits of all positions. */

import { assert } from "../../base/errors.js";
import type { Graph, Initializer, Node, Value } from "../../graph/types.js";
import { encoderDecoderOf } from "./encoder-decoder.js";
import type { TaskModel } from "./open.js";
import type { TaskGraph, TaskModule } from "./target-modules.js";
import { tiedTables } from "./tied-tables.js";
import type { WeightedNode } from "./weighted-nodes.js";

export interface JoinedGraph {
  /** Inputs `input_ids` and `attention_mask` of the source, and `decoder_input_ids`; output `logits`. A table that both share is one initializer. */
  readonly graph: Graph;
  /** The model's modules, with their uses in this graph. */
  readonly modules: readonly TaskModule[];
}

const decoderInput = "decoder_input_ids";

/** Throws what `encoderDecoderOf` throws. */
export function joinGraphs(model: TaskModel): JoinedGraph {
  const { encoder, first } = encoderDecoderOf(model);
  const hidden = encoder.outputs[0];
  const mask = encoder.inputs.find(({ name }) => name === "attention_mask");
  assert(hidden && mask, "an encoder has hidden states and a mask");
  const tied = Array.from(tiedTables(encoder, first), ([name, source]) => [name, `encoder:${source}`] as const);
  const links = new Map([...linksOf(hidden, mask), ...tied]);
  const parts = [new Renamed(encoder, "encoder", keptNames), new Renamed(first, "decoder", links)];
  const [source, target] = parts as [Renamed, Renamed];
  const logits = first.outputs.find(({ name }) => name === "logits");
  assert(logits, "a decoder has logits");
  const ids = first.inputs.find(({ name }) => name === "input_ids");
  assert(ids, "a decoder has ids");
  const label = "encoder and decoder";
  const graph: Graph = {
    name: label,
    inputs: [...encoder.inputs.map((value) => source.value(value)), target.value(ids)],
    outputs: [target.value(logits)],
    nodes: [...source.nodes(), ...target.nodes()],
    initializers: uniqueByName([...source.initializers(), ...target.initializers()]),
  };
  const joined: TaskGraph = { role: "whole", label, graph };
  const modules = model.modules.flatMap((module): TaskModule[] => {
    const uses = module.uses.flatMap(({ graph: used, target: node }) => {
      const part = parts.find(({ graph: own }) => own === used.graph);
      return part ? [{ graph: joined, target: part.weighted(node) }] : [];
    });
    return uses.length > 0 || module.uses.length === 0 ? [{ ...module, uses }] : [];
  });
  return { graph, modules };
}

/** The name in the joined graph of one of its initializers: the graph that it is from, and its name there. A shared table is from the encoder. */
export function initializerSource(name: string): { readonly part: "encoder" | "decoder"; readonly name: string } {
  const at = name.indexOf(":");
  return { part: name.startsWith("encoder") ? "encoder" : "decoder", name: name.slice(at + 1) };
}

function uniqueByName(initializers: readonly Initializer[]): Initializer[] {
  return [...new Map(initializers.map((each) => [each.value.name, each])).values()];
}

/** The encoder's inputs keep their names. */
const keptNames: ReadonlyMap<string, string> = new Map([
  ["input_ids", "input_ids"],
  ["attention_mask", "attention_mask"],
]);

function linksOf(hidden: Value, mask: Value): ReadonlyMap<string, string> {
  return new Map([
    ["input_ids", decoderInput],
    ["encoder_hidden_states", `encoder:${hidden.name}`],
    ["encoder_attention_mask", mask.name],
    ["logits", "logits"],
  ]);
}

/** A graph with other names of values and nodes. */
class Renamed {
  readonly graph: Graph;
  readonly #prefix: string;
  readonly #names: ReadonlyMap<string, string>;
  readonly #made = new Map<Node, Node>();

  constructor(graph: Graph, prefix: string, names: ReadonlyMap<string, string>) {
    this.graph = graph;
    this.#prefix = prefix;
    this.#names = names;
  }

  value(value: Value): Value {
    if (value.name === "") return value;
    return { ...value, name: this.#names.get(value.name) ?? `${this.#prefix}:${value.name}` };
  }

  nodes(): Node[] {
    return this.graph.nodes.map((node) => this.#node(node));
  }

  initializers(): Initializer[] {
    return this.graph.initializers.map((each) => this.#initializer(each));
  }

  weighted(target: WeightedNode): WeightedNode {
    const { node, weight, bias } = target;
    return {
      ...target,
      node: this.#node(node),
      weight: this.#initializer(weight),
      bias: bias && { ...bias, values: this.#initializer(bias.values), add: bias.add && this.#node(bias.add) },
    };
  }

  #initializer({ value, data }: Initializer): Initializer {
    return { value: this.value(value), data };
  }

  /** The same object each time: modules are found by their nodes. */
  #node(node: Node): Node {
    const known = this.#made.get(node);
    if (known) return known;
    const made: Node = {
      ...node,
      name: `${this.#prefix}:${node.name}`,
      inputs: node.inputs.map((value) => value && this.value(value)),
      outputs: node.outputs.map((value) => this.value(value)),
    };
    this.#made.set(node, made);
    return made;
  }
}
