/** The target modules of a task model as adapters see them: plain data, which threads may exchange. */

import { createHash } from "node:crypto";
import type { Graph, Node } from "../../graph/types.js";
import type { TargetModule } from "../blueprint.js";
import type { ModuleName } from "./names.js";
import type { FoldedNorm, TaskGraph, TaskModule } from "./target-modules.js";
import type { ModuleKind, WeightedNode } from "./weighted-nodes.js";

export interface TaskTarget extends TargetModule {
  readonly kind: ModuleKind;
  readonly names: readonly ModuleName[];
  /** Empty unless it is a convolution. */
  readonly kernel: readonly number[];
  readonly groups: number;
  readonly foldedNorm: FoldedNorm["kind"];
  readonly hasBias: boolean;
  /** Whether its outputs are the model's own, so that another number of them breaks no shape behind it. */
  readonly isOutput: boolean;
  /** Why it takes no adapter here: a clause such as "has weights of type float16"; null if it takes one. */
  readonly refusal: string | null;
}

/** `refusals`: modules that take no adapter, each with a clause that says why. */
export function taskTargetsOf(
  modules: readonly TaskModule[],
  refusals: ReadonlyMap<TaskModule, string> = new Map(),
): TaskTarget[] {
  const readers = new Map<Graph, GraphReaders>();
  const readersOf = ({ graph }: TaskGraph): GraphReaders => {
    const known = readers.get(graph) ?? new GraphReaders(graph);
    readers.set(graph, known);
    return known;
  };
  return modules.map((module) => {
    const { path, inFeatures, outFeatures, kind, names, kernel, groups, foldedNorm, uses } = module;
    return {
      ...{ path, inFeatures, outFeatures, kind, names, kernel, groups },
      foldedNorm: foldedNorm.kind,
      hasBias: uses.some(({ graph, target }) => readersOf(graph).hasBias(target)),
      isOutput: uses.every(({ graph, target }) => readersOf(graph).endsAtOutput(target.node)),
      refusal: refusals.get(module) ?? null,
    };
  });
}

/** Changes with everything that the check of an adapter depends on. */
export function taskTargetsKey(targets: readonly TaskTarget[]): string {
  return createHash("sha256").update(JSON.stringify(targets)).digest("hex");
}

/** Operators that keep the number of outputs. */
const elementwise: ReadonlySet<string> = new Set([
  "Cast",
  "Identity",
  "LogSoftmax",
  "Relu",
  "Sigmoid",
  "Softmax",
  "Tanh",
]);

class GraphReaders {
  readonly #initializers: ReadonlySet<string>;
  readonly #outputs: ReadonlySet<string>;
  readonly #readers = new Map<string, Node[]>();

  constructor({ initializers, outputs, nodes }: Graph) {
    this.#initializers = new Set(initializers.map(({ value }) => value.name));
    this.#outputs = new Set(outputs.map(({ name }) => name));
    for (const node of nodes) {
      for (const input of node.inputs) {
        if (!input) continue;
        const readers = this.#readers.get(input.name);
        if (readers) readers.push(node);
        else this.#readers.set(input.name, [node]);
      }
    }
  }

  hasBias({ kind, node }: WeightedNode): boolean {
    if (kind === "table") return false;
    return Boolean(node.inputs[2]) || this.#readersOf(node).some((reader) => this.#addsConstant(reader));
  }

  /** Whether only biases and elementwise operators lie between a node and outputs of the graph. */
  endsAtOutput(node: Node): boolean {
    const name = node.outputs[0]?.name ?? "";
    const readers = this.#readersOf(node);
    if (readers.length === 0) return this.#outputs.has(name);
    const keeps = (reader: Node): boolean => elementwise.has(reader.op) || this.#addsConstant(reader);
    return readers.every((reader) => keeps(reader) && this.endsAtOutput(reader));
  }

  #addsConstant({ op, inputs }: Node): boolean {
    return op === "Add" && inputs.some((input) => input !== null && this.#initializers.has(input.name));
  }

  #readersOf({ outputs }: Node): readonly Node[] {
    return this.#readers.get(outputs[0]?.name ?? "") ?? [];
  }
}
