/** The nodes of a graph that apply a constant weight: products, convolutions and tables. `bias-nodes.ts` finds those that only add one. */

import { producersOf, readersOf } from "../../graph/edges.js";
import { sameShape } from "../../graph/shape.js";
import type { Graph, Initializer, Node, Value } from "../../graph/types.js";
import { type ModuleName, namesOf } from "./names.js";

/**
 * "norm": a normalization, whose weight and bias adapters can replace. "bias": a layer of another kind, or a normalization whose weight is not
 * known, whose bias alone adapters can change.
 */
export type ModuleKind = "linear" | "convolution" | "table" | "norm" | "bias";

/** Whether a module of this kind takes an adapter's product. */
export const takesProduct = (kind: ModuleKind): boolean => kind !== "norm" && kind !== "bias";

export interface WeightedNode {
  readonly kind: ModuleKind;
  readonly node: Node;
  /** Of kind "bias": the bias. */
  readonly weight: Initializer;
  /** Of kind "norm": the input of `node` that brings the weight. */
  readonly input?: number;
  /** Whether the weight is stored [out, in]; false: [in, out]. Tables are [rows, dim], convolutions [out, in/groups, ...kernel]. */
  readonly outFirst: boolean;
  /** Of a table: its rows. */
  readonly inFeatures: number;
  readonly outFeatures: number;
  /** Empty unless it is a convolution. */
  readonly kernel: readonly number[];
  readonly groups: number;
  readonly names: readonly ModuleName[];
  /** Of kinds "norm" and "bias": they lie along the second axis of the outputs, which so many follow (null: any number). Absent: along the last. */
  readonly channels?: { readonly after: number | null };
  /** The layer's own bias, [out]; null if it has none. */
  readonly bias: Bias | null;
  /** Whether a batch normalization may have been folded into the weight: a convolution with a bias and no normalization after it. */
  readonly mayBeFolded: boolean;
}

export interface Bias {
  readonly values: Initializer;
  /** The node that adds it; null if the layer's own node does. */
  readonly add: Node | null;
  /** The input of `add` that brings it, perhaps repeated or reshaped. */
  readonly input?: number;
}

const floats: ReadonlySet<string> = new Set(["float32", "float16", "bfloat16"]);

export function findWeightedNodes(graph: Graph): WeightedNode[] {
  const reader = new WeightReader(graph);
  return graph.nodes.flatMap((node) => {
    if (node.domain !== "") return [];
    switch (node.op) {
      case "MatMul":
      case "Gemm":
        return reader.linear(node);
      case "Conv":
        return reader.convolution(node);
      case "Gather":
        return reader.table(node);
      default:
        return [];
    }
  });
}

class WeightReader {
  readonly #initializers: ReadonlyMap<string, Initializer>;
  readonly #producers: ReadonlyMap<string, Node>;
  readonly #readers: ReadonlyMap<string, readonly Node[]>;

  constructor({ initializers, nodes }: Graph) {
    this.#initializers = new Map(initializers.map((item) => [item.value.name, item]));
    this.#producers = producersOf(nodes);
    this.#readers = readersOf(nodes);
  }

  linear(node: Node): WeightedNode[] {
    if (intOf(node, "transA", 0) !== 0 || floatOf(node, "alpha", 1) !== 1 || floatOf(node, "beta", 1) !== 1) return [];
    const found = this.#weightOf(node.inputs[1]);
    if (found?.shape.length !== 2) return [];
    const outFirst = (intOf(node, "transB", 0) !== 0) !== found.transposed;
    const [rows = 0, columns = 0] = found.shape;
    const [inFeatures, outFeatures] = outFirst ? [columns, rows] : [rows, columns];
    const bias = this.#biasOf(node, outFeatures);
    if (bias === "computed") return [];
    const brought = bias && biasInput({ node }, bias);
    const names = this.#namesOf(node, found.weight, brought?.node.inputs[brought.input]);
    const { weight } = found;
    return [{ ...plain, kind: "linear", node, weight, outFirst, inFeatures, outFeatures, names, bias }];
  }

  convolution(node: Node): WeightedNode[] {
    const found = this.#weightOf(node.inputs[1]);
    if (!found || found.transposed || found.shape.length < 3) return [];
    const [outFeatures = 0, inOfGroup = 0, ...kernel] = found.shape;
    const groups = intOf(node, "group", 1);
    const inFeatures = inOfGroup * groups;
    const bias = this.#ownBias(node, outFeatures);
    if (bias === "computed") return [];
    const names = this.#namesOf(node, found.weight, node.inputs[2]);
    const isNormalized = this.#readersOf(node).some(({ op }) => op === "BatchNormalization");
    const hasBias = bias !== null || this.#readersOf(node).some((reader) => this.#addsConstant(reader));
    const rest = { outFirst: true, inFeatures, outFeatures, kernel, groups, names, bias };
    return [{ kind: "convolution", node, weight: found.weight, ...rest, mayBeFolded: hasBias && !isNormalized }];
  }

  table(node: Node): WeightedNode[] {
    const found = this.#weightOf(node.inputs[0]);
    if (!found || found.transposed || found.shape.length !== 2 || intOf(node, "axis", 0) !== 0) return [];
    const [inFeatures = 0, outFeatures = 0] = found.shape;
    const names = namesOf(node, found.weight.value.name, null);
    return [{ ...plain, kind: "table", node, weight: found.weight, outFirst: false, inFeatures, outFeatures, names }];
  }

  /** A bias that other layers read too, because an exporter stored equal ones once, names a layer only if nothing else does. */
  #namesOf(node: Node, { value: weight }: Initializer, bias: Value | null | undefined): ModuleName[] {
    const readers = this.#readers.get(bias?.name ?? "") ?? [];
    const isShared = readers.filter(({ op }) => op !== "Identity").length > 1;
    const own = isShared ? namesOf(node, weight.name, null) : [];
    return own.length > 0 ? own : namesOf(node, weight.name, bias?.name ?? null);
  }

  /** The initializer behind a value, seen through transpositions of a matrix. */
  #weightOf(value: Value | null | undefined) {
    let transposed = false;
    for (let at = value; at; ) {
      const weight = this.#initializers.get(at.name);
      if (weight) {
        const shape = weight.value.shape.map(Number);
        return floats.has(weight.value.type) && !shape.includes(0) ? { weight, transposed, shape } : null;
      }
      const producer = this.#producers.get(at.name);
      if (producer?.op !== "Transpose" && producer?.op !== "Identity") return null;
      if (producer.op === "Transpose") transposed = !transposed;
      at = producer.inputs[0];
    }
    return null;
  }

  /** Some exporters write a convolution's bias as a separate node. */
  #addsConstant({ op, inputs }: Node): boolean {
    return op === "Add" && inputs.some((input) => input !== null && this.#initializers.has(input.name));
  }

  #readersOf({ outputs }: Node): readonly Node[] {
    return this.#readers.get(outputs[0]?.name ?? "") ?? [];
  }

  /** A Gemm's own bias, or the one that the only reader of a MatMul adds. Exporters store equal biases once and repeat them by Identity. */
  #biasOf(node: Node, outFeatures: number): Bias | "computed" | null {
    if (node.op === "Gemm") return this.#ownBias(node, outFeatures);
    const [add, ...others] = this.#readersOf(node);
    if (add?.op !== "Add" || others.length > 0) return null;
    const input = add.inputs.findIndex((value) => value && value.name !== node.outputs[0]?.name);
    const values = this.#weightOf(add.inputs[input])?.weight;
    return values && sameShape(values.value.shape, [outFeatures]) ? { values, add, input } : null;
  }

  /** The third input of a Gemm or a Conv. "computed": it is not a constant vector. */
  #ownBias({ inputs }: Node, outFeatures: number): Bias | "computed" | null {
    const value = inputs[2];
    if (!value) return null;
    const values = this.#weightOf(value)?.weight;
    return values && sameShape(values.value.shape, [outFeatures]) ? { values, add: null } : "computed";
  }
}

/** Whether a linear layer's node reads its weight transposed. */
export const readsTransposed = ({ kind, node, outFirst }: WeightedNode): boolean =>
  kind === "linear" && outFirst !== (intOf(node, "transB", 0) !== 0);

/** The node and its input that bring a layer's bias. */
export function biasInput({ node }: Pick<WeightedNode, "node">, { values, add, input }: Bias) {
  if (!add) return { node, input: 2 };
  return { node: add, input: input ?? add.inputs.findIndex((value) => value?.name === values.value.name) };
}

const plain = { kernel: [], groups: 1, bias: null, mayBeFolded: false } as const;

function intOf({ attributes }: Node, name: string, fallback: number): number {
  const found = attributes[name];
  return found?.kind === "int" ? found.value : fallback;
}

function floatOf({ attributes }: Node, name: string, fallback: number): number {
  const found = attributes[name];
  return found?.kind === "float" || found?.kind === "int" ? found.value : fallback;
}
