/**
 * The nodes of a graph that add a constant bias without being linear layers or convolutions: normalizations, transposed convolutions,
 * and sums that an exporter wrote for them. Adapters with trained biases (`bias="all"`) shift their outputs.
 */

import { producersOf } from "../../graph/edges.js";
import type { Graph, Initializer, Node, Value } from "../../graph/types.js";
import { namesOf } from "./names.js";
import type { WeightedNode } from "./weighted-nodes.js";

export interface BiasNode {
  readonly target: WeightedNode;
  /** The module by the name of the bias; null if that names none, or other layers read it too and the node's own name disagrees. */
  readonly biasPath: string | null;
  /** The module by the node's own name and scope; null if they name none. */
  readonly nodePath: string | null;
  /** Whether the operator's bias is the module's in any case. A sum's constant may hold more, such as a folded mean. */
  readonly isCertain: boolean;
}

/** Operators whose third input is a bias. */
const normalizations: ReadonlySet<string> = new Set([
  "LayerNormalization",
  "BatchNormalization",
  "GroupNormalization",
  "InstanceNormalization",
]);

/** `weighted`: of the same graph; their biases are left out. */
export function findBiasNodes(graph: Graph, weighted: readonly WeightedNode[]): BiasNode[] {
  return new BiasReader(graph, weighted).read();
}

interface FoundBias {
  readonly values: Initializer;
  /** The nearest name that ends in `.bias`. */
  readonly name: string | null;
  readonly size: number;
  /** How many axes of size 1 follow. */
  readonly trailing: number;
}

class BiasReader {
  readonly #graph: Graph;
  readonly #initializers: ReadonlyMap<string, Initializer>;
  readonly #producers: ReadonlyMap<string, Node>;
  readonly #weightedNodes: ReadonlySet<Node>;
  /** How many nodes read each bias, by its name. */
  readonly #readers = new Map<string, number>();

  constructor(graph: Graph, weighted: readonly WeightedNode[]) {
    this.#graph = graph;
    this.#initializers = new Map(graph.initializers.map((item) => [item.value.name, item]));
    this.#producers = producersOf(graph.nodes);
    this.#weightedNodes = new Set(weighted.flatMap(({ node, bias }) => (bias?.add ? [node, bias.add] : [node])));
    for (const { op, inputs } of graph.nodes) {
      if (op === "Identity" || op === "Unsqueeze") continue;
      for (const input of inputs) {
        const name = this.#biasOf(input)?.name;
        if (name) this.#readers.set(name, (this.#readers.get(name) ?? 0) + 1);
      }
    }
  }

  read(): BiasNode[] {
    return this.#graph.nodes.flatMap((node) => {
      if (node.domain !== "" || this.#weightedNodes.has(node)) return [];
      if (normalizations.has(node.op) || node.op === "ConvTranspose") return this.#ofThirdInput(node);
      return node.op === "Add" ? this.#ofSum(node) : [];
    });
  }

  #ofThirdInput(node: Node): BiasNode[] {
    const found = this.#biasOf(node.inputs[2]);
    if (!found || found.trailing > 0) return [];
    const channels = node.op === "LayerNormalization" ? null : { after: null };
    return [this.#biasNode(node, found, channels, { isCertain: normalizations.has(node.op), input: 2 })];
  }

  #ofSum(node: Node): BiasNode[] {
    const found = node.inputs.map((input) => this.#biasOf(input));
    const [first, second] = found;
    const bias = first ?? second;
    if (!bias || (first && second) || node.inputs.length !== 2) return [];
    const channels = bias.trailing === 0 ? null : { after: bias.trailing };
    return [this.#biasNode(node, bias, channels, { isCertain: false, input: found.indexOf(bias) })];
  }

  #biasNode(
    node: Node,
    { values, name, size }: FoundBias,
    channels: WeightedNode["channels"] | null,
    { isCertain, input }: Pick<BiasNode, "isCertain"> & { readonly input: number },
  ): BiasNode {
    const names = namesOf(node, "", name);
    const biasPath = names.find(({ by }) => by === "bias")?.path ?? null;
    const nodePath = names.find(({ by }) => by === "scope" || by === "node")?.path ?? null;
    const isShared = (this.#readers.get(name ?? "") ?? 0) > 1;
    const isOwn = !isShared || (biasPath !== null && nodePath !== null && isUseOf(nodePath, biasPath));
    const bias = { values, add: node, input };
    const target: WeightedNode = {
      ...{ kind: "bias", node, weight: values, outFirst: false, inFeatures: size, outFeatures: size, kernel: [] },
      ...{ groups: 1, names, bias, mayBeFolded: false, ...(channels && { channels }) },
    };
    return { target, biasPath: isOwn ? biasPath : null, nodePath, isCertain };
  }

  /** A constant vector, seen through what only repeats or reshapes it. */
  #biasOf(value: Value | null | undefined): FoundBias | null {
    let name: string | null = null;
    let added = 0;
    for (let at = value; at; ) {
      if (name === null && at.name.endsWith(".bias")) name = at.name;
      const values = this.#initializers.get(at.name);
      if (values) return vectorOf(values, name, added);
      const producer = this.#producers.get(at.name);
      if (producer?.op === "Unsqueeze") {
        const axes = this.#initializers.get(producer.inputs[1]?.name ?? "")?.value.shape[0];
        if (typeof axes !== "number") return null;
        added += axes;
      } else if (producer?.op !== "Identity") return null;
      at = producer.inputs[0];
    }
    return null;
  }
}

/** Of [n], [n, 1, 1] or [1, n, 1, 1]. */
function vectorOf(values: Initializer, name: string | null, added: number): FoundBias | null {
  const { type, shape } = values.value;
  if (type !== "float32" && type !== "float16" && type !== "bfloat16") return null;
  const sizes = shape.map(Number);
  const last = sizes.findLastIndex((size) => size !== 1);
  const axis = last < 0 ? 0 : last;
  const size = sizes[axis] ?? 0;
  if (sizes.length === 0 || size === 0 || sizes.some((other, i) => i !== axis && other !== 1)) return null;
  return { values, name, size, trailing: sizes.length - 1 - axis + added };
}

/** Exporters number the uses of a module: `norm_1` is the second one of `norm`. */
function isUseOf(path: string, module: string): boolean {
  const [found, expected] = [path.split("."), module.split(".")];
  const fits = (segment: string, i: number): boolean => {
    const name = expected[i] ?? "";
    return segment === name || (segment.startsWith(`${name}_`) && /^\d+$/.test(segment.slice(name.length + 1)));
  };
  return found.length === expected.length && found.every(fits);
}
