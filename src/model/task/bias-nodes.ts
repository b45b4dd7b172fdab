/**
 * The nodes of a graph that add a constant bias without being linear layers or convolutions: normalizations, transposed convolutions,
 * and sums that an exporter wrote for them. Adapters with trained biases (`bias="all"`) shift their outputs. Normalizations also multiply
 * by a constant weight, in their own operator or in a product that an exporter wrote for them.
 */

import { producersOf, readersOf } from "../../graph/edges.js";
import { bodyNames } from "../../graph/prune.js";
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
  /** What multiplies the outputs before the bias is added; null: nothing that can be told. */
  readonly scale: Scale | null;
}

/** A constant that multiplies what a normalization computes. */
export interface Scale {
  readonly node: Node;
  /** The input of `node` that brings it. */
  readonly input: number;
  readonly values: Initializer;
  /** The module by the name of the weight; null if that names none, or other layers read it too and the node's own name disagrees. */
  readonly path: string | null;
}

/** Operators whose third input is a bias. */
const normalizations: ReadonlySet<string> = new Set([
  "LayerNormalization",
  "BatchNormalization",
  "GroupNormalization",
  "InstanceNormalization",
]);

const isNormalization = (op: string): boolean => normalizations.has(op);

/** `weighted`: of the same graph; their biases are left out. */
export function findBiasNodes(graph: Graph, weighted: readonly WeightedNode[]): BiasNode[] {
  return new BiasReader(graph, weighted).read();
}

interface FoundVector {
  readonly values: Initializer;
  /** The nearest name that ends as asked. */
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
  /** How many nodes read each bias or weight, by its name. */
  readonly #readers = new Map<string, number>();
  /** Weights, by name, that operators read which are no normalizations. */
  readonly #otherwiseRead = new Set<string>();
  readonly #readersOf: ReadonlyMap<string, readonly Node[]>;

  constructor(graph: Graph, weighted: readonly WeightedNode[]) {
    this.#graph = graph;
    this.#initializers = new Map(graph.initializers.map((item) => [item.value.name, item]));
    this.#producers = producersOf(graph.nodes);
    this.#weightedNodes = new Set(weighted.flatMap(({ node, bias }) => (bias?.add ? [node, bias.add] : [node])));
    this.#readersOf = readersOf(graph.nodes);
    for (const node of graph.nodes) {
      const { op, domain, inputs, attributes } = node;
      for (const name of bodyNames(attributes)) this.#otherwiseRead.add(name);
      if (op === "Identity" || op === "Unsqueeze") continue;
      for (const [i, input] of inputs.entries()) {
        const weight = this.#vectorOf(input, ".weight")?.name;
        const isScale = op === "Mul" ? this.#constantOf(node, ".weight")?.input === i : isNormalization(op) && i === 1;
        if (weight && !(domain === "" && isScale)) this.#otherwiseRead.add(weight);
        for (const name of [this.#vectorOf(input, ".bias")?.name, weight]) {
          if (name) this.#readers.set(name, (this.#readers.get(name) ?? 0) + 1);
        }
      }
    }
  }

  read(): BiasNode[] {
    return this.#graph.nodes.flatMap((node) => {
      if (node.domain !== "" || this.#weightedNodes.has(node)) return [];
      if (isNormalization(node.op) || node.op === "ConvTranspose") return this.#ofThirdInput(node);
      if (node.op === "Mul") return this.#ofProduct(node);
      return node.op === "Add" ? this.#ofSum(node) : [];
    });
  }

  #ofThirdInput(node: Node): BiasNode[] {
    const found = this.#vectorOf(node.inputs[2], ".bias");
    const isNorm = isNormalization(node.op);
    const channels = node.op === "LayerNormalization" ? null : { after: null };
    // An adapter with a batch normalization has its statistics as well.
    const hasScale = isNorm && node.op !== "BatchNormalization";
    const scale = hasScale ? this.#vectorOf(node.inputs[1], ".weight") : null;
    const own = scale?.trailing === 0 ? { ...this.#scaleOf(node, scale), input: 1 } : null;
    if (!node.inputs[2]) return scale && own ? [this.#scaleNode(node, scale, channels, own)] : [];
    if (!found || found.trailing > 0) return [];
    const isSame = scale?.size === found.size;
    return [this.#biasNode(node, found, channels, { isCertain: isNorm, input: 2, scale: isSame ? own : null })];
  }

  #ofSum(node: Node): BiasNode[] {
    const found = this.#constantOf(node, ".bias");
    if (!found) return [];
    const { vector, input } = found;
    const product = this.#producers.get(node.inputs[1 - input]?.name ?? "");
    const scale = product && this.#scaleBefore(product, vector);
    return [this.#biasNode(node, vector, channelsOf(vector), { isCertain: false, input, scale: scale ?? null })];
  }

  /** A product that no sum of a bias follows. */
  #ofProduct(node: Node): BiasNode[] {
    const found = this.#constantOf(node, ".weight");
    if (!found || this.#sumAfter(node, found.vector)) return [];
    const { vector, input } = found;
    return [this.#scaleNode(node, vector, channelsOf(vector), { ...this.#scaleOf(node, vector), input })];
  }

  #scaleBefore(product: Node, bias: FoundVector): Scale | null {
    const found = product.op === "Mul" && product.domain === "" ? this.#constantOf(product, ".weight") : null;
    if (!found || this.#sumAfter(product, found.vector)?.vector.values !== bias.values) return null;
    return { ...this.#scaleOf(product, found.vector), input: found.input };
  }

  /** The bias of the same form that the only reader of a product adds. */
  #sumAfter({ outputs }: Node, scale: FoundVector): { readonly vector: FoundVector } | null {
    const name = outputs[0]?.name ?? "";
    const [add, ...others] = this.#readersOf.get(name) ?? [];
    if (add?.op !== "Add" || add.domain !== "" || others.length > 0 || this.#isOutput(name)) return null;
    const found = this.#constantOf(add, ".bias");
    return found?.vector.size === scale.size && found.vector.trailing === scale.trailing ? found : null;
  }

  #isOutput(name: string): boolean {
    return this.#graph.outputs.some((output) => output.name === name);
  }

  /** The constant vector among two inputs; null unless exactly one is. */
  #constantOf({ inputs }: Node, ending: string): { readonly vector: FoundVector; readonly input: number } | null {
    const found = inputs.map((input) => this.#vectorOf(input, ending));
    const [first, second] = found;
    const vector = first ?? second;
    if (!vector || (first && second) || inputs.length !== 2) return null;
    return { vector, input: found.indexOf(vector) };
  }

  #scaleOf(node: Node, { values, name }: FoundVector): Omit<Scale, "input"> {
    const path = name === null ? null : name.slice(0, -".weight".length);
    const { nodePath } = pathsOf(node, null);
    const isOwn = path !== null && name !== null && !this.#otherwiseRead.has(name) && this.#isOwn(name, path, nodePath);
    return { node, values, path: isOwn ? path : null };
  }

  #scaleNode(
    node: Node,
    { values, size }: FoundVector,
    channels: WeightedNode["channels"] | null,
    scale: Scale,
  ): BiasNode {
    const { names, nodePath } = pathsOf(node, null);
    const target: WeightedNode = {
      ...{ kind: "norm", node, weight: values, input: scale.input, outFirst: false, inFeatures: size },
      ...{ outFeatures: size, kernel: [], groups: 1, names, bias: null, mayBeFolded: false },
      ...(channels && { channels }),
    };
    return { target, biasPath: null, nodePath, isCertain: false, scale };
  }

  #biasNode(
    node: Node,
    { values, name, size }: FoundVector,
    channels: WeightedNode["channels"] | null,
    { isCertain, input, scale }: Pick<BiasNode, "isCertain" | "scale"> & { readonly input: number },
  ): BiasNode {
    const { names, biasPath, nodePath } = pathsOf(node, name);
    const isOwn = this.#isOwn(name, biasPath, nodePath);
    const bias = { values, add: node, input };
    const target: WeightedNode = {
      ...{ kind: "bias", node, weight: values, outFirst: false, inFeatures: size, outFeatures: size, kernel: [] },
      ...{ groups: 1, names, bias, mayBeFolded: false, ...(channels && { channels }) },
    };
    return { target, biasPath: isOwn ? biasPath : null, nodePath, isCertain, scale };
  }

  /** Whether a vector's name is that of the module that a node belongs to. */
  #isOwn(name: string | null, path: string | null, nodePath: string | null): boolean {
    const isShared = (this.#readers.get(name ?? "") ?? 0) > 1;
    return !isShared || (path !== null && nodePath !== null && isUseOf(nodePath, path));
  }

  /** A constant vector, seen through what only repeats or reshapes it. */
  #vectorOf(value: Value | null | undefined, ending: string): FoundVector | null {
    let name: string | null = null;
    let added = 0;
    for (let at = value; at; ) {
      if (name === null && at.name.endsWith(ending)) name = at.name;
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

const channelsOf = ({ trailing }: FoundVector): WeightedNode["channels"] | null =>
  trailing === 0 ? null : { after: trailing };

function pathsOf(node: Node, bias: string | null) {
  const names = namesOf(node, "", bias);
  const biasPath = names.find(({ by }) => by === "bias")?.path ?? null;
  const nodePath = names.find(({ by }) => by === "scope" || by === "node")?.path ?? null;
  return { names, biasPath, nodePath };
}

/** Of [n], [n, 1, 1] or [1, n, 1, 1]. */
function vectorOf(values: Initializer, name: string | null, added: number): FoundVector | null {
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
