/**
 * How an adapter's parts are computed and added where a graph has one row: as written in the papers, without an axis of rows. The products
 * are those of a batch, so a row's bits stay the same.
 */

import { assert } from "../../base/errors.js";
import type { Value } from "../../graph/types.js";
import type { StackNames } from "./adapted-node.js";
import type { AdaptedOps } from "./adapted-ops.js";
import { ConvolutionForm, type Form } from "./layer-forms.js";
import type { WeightedNode } from "./weighted-nodes.js";

/** Linear layers and tables, wherever the row's positions lie. */
export class LoneFeatureForm implements Form {
  readonly #ops: AdaptedOps;
  readonly #target: WeightedNode;

  constructor(ops: AdaptedOps, target: WeightedNode) {
    this.#ops = ops;
    this.#target = target;
  }

  byRow(y: Value): Value {
    return y;
  }

  product(names: StackNames): Value {
    const ops = this.#ops;
    return ops.node("MatMul", [this.#times(ops.ofRows(names.a, [])), ops.ofRows(names.b, [])]);
  }

  whole(weight: string): Value {
    return this.#times(this.#ops.ofRows(weight, []));
  }

  vector(row: Value): Value {
    return row;
  }

  shaped(values: Value): Value {
    return values;
  }

  ownBias(bias: Value): Value {
    return bias;
  }

  #times(weight: Value): Value {
    const ops = this.#ops;
    const { kind, node } = this.#target;
    const x = node.inputs[kind === "table" ? 1 : 0];
    assert(x, "a layer has an input");
    if (kind === "table") return ops.node("Gather", [weight, x], { axis: 0 });
    // As in a batch, no factor or transposition before the layer becomes part of the product: sums would be rounded otherwise.
    const own = ops.once(`${x.name} by itself`, () => ops.reshaped(x, ops.shape(x)));
    return ops.node("MatMul", [own, weight]);
  }
}

/** Convolutions: by row, values are [1, out, positions]. */
export class LoneChannelForm extends ConvolutionForm implements Form {
  byRow(y: Value): Value {
    return this.ops.reshaped(y, this.ops.ints(0, 0, -1));
  }

  product(names: StackNames): Value {
    const ops = this.ops;
    const low = this.byRow(this.#convolved(ops.ofRows(names.a, []), 1));
    return ops.node("MatMul", [ops.ofRows(names.b, []), low]);
  }

  whole(weight: string): Value {
    return this.#convolved(this.ops.ofRows(weight, []), this.target.groups);
  }

  vector(row: Value): Value {
    return this.ops.node("Unsqueeze", [row, this.ops.ints(1)]);
  }

  #convolved(weight: Value, groups: number): Value {
    const { attributes } = this.target.node;
    return this.ops.node("Conv", [this.x, weight], { ...attributes, group: { kind: "int", value: groups } });
  }
}
