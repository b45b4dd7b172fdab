/** Norms as fused kernels, and the factors that they read. */
import { at } from "../../base/list.js";
import { float } from "../../graph/builder.js";
import type { Ops } from "../../graph/ops.js";
import type { Value } from "../../graph/types.js";
import type { HeadNorm, Norm } from "../blueprint.js";
import { normalizeHeads } from "../heads.js";
import { plainWeight, type WeightSource } from "../weights.js";

export class Norms {
  readonly #op: Ops;
  readonly #weights: WeightSource;

  constructor(op: Ops, weights: WeightSource) {
    this.#op = op;
    this.#weights = weights;
  }

  norm(norm: Norm, x: Value): Value {
    return this.#normalize(norm, x, this.#factors(norm));
  }

  /** By given factors instead of the norm's own. */
  normBy(norm: Pick<Norm, "kind" | "epsilon">, x: Value, gain: Value): Value {
    return this.#normalize(norm, x, [gain]);
  }

  addNorm(norm: Norm, x: Value, delta: Value): { sum: Value; normed: Value } {
    const output = { type: x.type, shape: x.shape };
    const values = this.#op.builder.node(
      norm.kind === "layer" ? "SkipLayerNormalization" : "SkipSimplifiedLayerNormalization",
      [x, delta, ...this.#factors(norm)],
      [output, null, null, output],
      { epsilon: float(norm.epsilon) },
      "com.microsoft",
    );
    return { normed: at(values, 0) as Value, sum: at(values, 3) as Value };
  }

  headNorm(norm: HeadNorm, x: Value, heads: number): Value {
    return normalizeHeads(this.#op, norm, x, heads, this);
  }

  /** The factors of a norm. An offset is folded when the session is created. */
  gain({ path, offset }: Norm): Value {
    const weight = plainWeight(this.#op.builder, this.#weights, `${path}.weight`);
    return offset === 0 ? weight : this.#op.add(weight, this.#op.like(weight, offset));
  }

  #normalize({ kind, epsilon }: Pick<Norm, "kind" | "epsilon">, x: Value, factors: readonly Value[]): Value {
    const operator = kind === "layer" ? "LayerNormalization" : "SimplifiedLayerNormalization";
    return this.#op.one(operator, [x, ...factors], x.type, x.shape, { epsilon: float(epsilon) });
  }

  /** A norm's factors and its bias. */
  #factors(norm: Norm): Value[] {
    const gain = this.gain(norm);
    return norm.bias ? [gain, plainWeight(this.#op.builder, this.#weights, `${norm.path}.bias`)] : [gain];
  }
}
