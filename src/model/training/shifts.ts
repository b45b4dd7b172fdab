/** Shifts packed rows: the value some tokens before each token, or 0 if that token belongs to another text. */
import { at } from "../../base/list.js";
import type { Ops } from "../../graph/ops.js";
import { dimProduct } from "../../graph/shape.js";
import type { Value } from "../../graph/types.js";

export class TrainingShifts {
  readonly #op: Ops;
  /** [i]: 1 if the token i + 1 before belongs to the same text, else 0; float32 [tokens, 1], created outside of any layer. */
  readonly #same: readonly Value[];

  /** `segments` are int64 [rows, length]. */
  constructor(op: Ops, segments: Value, reach: number) {
    this.#op = op;
    this.#same = Array.from({ length: reach }, (_, i) => {
      const same = op.compare("Equal", segments, this.#shifted(segments, 1, i + 1, -1));
      const flat = op.builder.constant("int64", [2], [-1, 1]);
      return op.reshape(op.cast(same, "float32"), [dimProduct(segments.shape), 1], flat);
    });
  }

  /** x [tokens, width] of the token `distance` before. */
  before(x: Value, distance: number): Value {
    if (distance === 0) return x;
    return this.#op.mul(this.#shifted(x, 0, distance, 0), at(this.#same, distance - 1));
  }

  /** x shifted along an axis, with `fill` at the front. */
  #shifted(x: Value, axis: number, distance: number, fill: number): Value {
    const op = this.#op;
    const list = (value: number): Value => op.builder.constant("int64", [1], [value]);
    const longer = op.pad(x, axis, distance, 0, `${x.shape[axis]}+${distance}`, fill);
    return op.one("Slice", [longer, list(0), list(-distance), list(axis)], x.type, x.shape);
  }
}
