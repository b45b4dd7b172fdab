/** Which outputs of a graph a layer decides by itself: only its bias and an activation lie between. */

import { readersOf } from "../../graph/edges.js";
import type { Graph, Node } from "../../graph/types.js";

/** Operators that keep each value of a layer's outputs apart, or a softmax over them. */
const passing: ReadonlySet<string> = new Set(["Identity", "Cast", "Softmax", "LogSoftmax", "Sigmoid", "Relu", "Tanh"]);

export interface HeadOutputs {
  readonly names: readonly string[];
  /** Whether nothing else reads the layer, so that another number of outputs breaks no later shape. */
  readonly isWhole: boolean;
}

export class HeadReader {
  readonly #outputs: ReadonlySet<string>;
  readonly #constants: ReadonlySet<string>;
  readonly #readers: ReadonlyMap<string, readonly Node[]>;

  constructor({ outputs, initializers, nodes }: Graph) {
    this.#outputs = new Set(outputs.map(({ name }) => name));
    this.#constants = new Set(initializers.map(({ value }) => value.name));
    this.#readers = readersOf(nodes);
  }

  outputsOf(layer: Node): HeadOutputs {
    const found: string[] = [];
    let isWhole = true;
    const names = layer.outputs.map(({ name }) => name);
    for (let name = names.pop(); name !== undefined; name = names.pop()) {
      if (this.#outputs.has(name)) found.push(name);
      for (const reader of this.#readers.get(name) ?? []) {
        if (this.#passes(reader)) names.push(...reader.outputs.map((output) => output.name));
        else isWhole = false;
      }
    }
    return { names: found, isWhole: isWhole && found.length > 0 };
  }

  /** Whether a constant is added to a layer's outputs. */
  addsConstant(layer: Node): boolean {
    return (this.#readers.get(layer.outputs[0]?.name ?? "") ?? []).some((reader) => this.#isSum(reader));
  }

  #passes(node: Node): boolean {
    return node.domain === "" && (passing.has(node.op) || this.#isSum(node));
  }

  #isSum({ op, inputs }: Node): boolean {
    return op === "Add" && inputs.some((input) => this.#constants.has(input?.name ?? ""));
  }
}
