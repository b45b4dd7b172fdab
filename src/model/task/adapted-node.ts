/** What a graph with adapters adds to a node, and the names of the inputs that bring it. */

import type { WeightedNode } from "./weighted-nodes.js";

/** What the adapters of a graph do to a module. Each part is an input of the graph with one entry for each place. */
export interface ModuleParts {
  /** B A x. */
  readonly product: boolean;
  /** DoRA's g - 1 of each output, times the layer's own product. */
  readonly gain: boolean;
  /** What is added to each output. */
  readonly shift: boolean;
  /** Layers that take the base's place, each of its own size. */
  readonly whole: boolean;
}

/**
 * Names of a module's stacks. `a`: linear [places, in, rank], convolution [places, rank, in, ...kernel], table [places, rows, rank]. `b`:
 * linear and table [places, rank, out], convolution [places, out, rank]. `gain`, `shift`, `bias`: [places, out]. `weight`: linear
 * [places, in, out], convolution [places, out, in/groups, ...kernel], table [places, rows, out]. With whole layers `out` is the widest one's.
 */
export const stackNames = (path: string) => ({
  a: `lora_a.${path}`,
  b: `lora_b.${path}`,
  gain: `gain.${path}`,
  shift: `shift.${path}`,
  weight: `weight.${path}`,
  bias: `bias.${path}`,
});

export type StackNames = ReturnType<typeof stackNames>;

/**
 * Where the rows of a batch lie in a layer's input. "first": one after the other, each as a block. "second": along the second axis, after
 * positions. "shared": every row has the same input, whose first axis is 1, and what reads the layer takes an output for each row.
 * "uniform": in no known way, or what reads the layer takes no output for each row. All rows of a run then have one adapter here.
 */
export type RowLayout = "first" | "second" | "shared" | "uniform";

export interface AdaptedNode {
  /** Names the module's stacks. */
  readonly path: string;
  readonly target: WeightedNode;
  readonly layout: RowLayout;
  readonly parts: ModuleParts;
}

/** Whether a graph with these nodes is made for one number of rows. */
export const needsRowCount = (adapted: readonly Pick<AdaptedNode, "target" | "parts">[]): boolean =>
  adapted.some(({ target: { kind }, parts }) => kind === "convolution" && (parts.product || parts.whole));
