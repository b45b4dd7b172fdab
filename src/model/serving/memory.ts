/** Linear attention by the gated delta rule, with a memory for each row. */
import { float } from "../../graph/builder.js";
import type { Ops } from "../../graph/ops.js";
import type { Value } from "../../graph/types.js";
import type { GatedDelta } from "../blueprint.js";
import { plainWeight, type WeightSource } from "../weights.js";
import { pastInput, presentOutput } from "./cache-names.js";
import { inlineTable } from "./inline-table.js";
import type { Norms } from "./norms.js";
import type { StepInputs } from "./step-inputs.js";

export class Memory {
  readonly #op: Ops;
  readonly #weights: WeightSource;
  readonly #inputs: StepInputs;
  readonly #norms: Norms;

  constructor(op: Ops, weights: WeightSource, inputs: StepInputs, norms: Norms) {
    this.#op = op;
    this.#weights = weights;
    this.#inputs = inputs;
    this.#norms = norms;
  }

  /**
   * What each token finds, and the next memory. A token that a row does not take in neither lets its memory decay nor corrects
   * it: it stays as it is, to the last bit.
   */
  build(
    layer: number,
    delta: GatedDelta,
    mixed: Value,
    rate: Value,
    decay: Value,
  ): { readonly found: Value; readonly present: Value } {
    const op = this.#op;
    const { keyHeads, valueHeads, keyDim, valueDim } = delta;
    const keys = keyHeads * keyDim;
    const width = valueHeads * valueDim;
    const { taken } = this.#inputs;
    const rows = (x: Value): Value => this.#inputs.byRow(x);
    const wide = (x: Value): Value => op.cast(x, "float32");
    const weight = (name: string): Value => wide(plainWeight(op.builder, this.#weights, name));
    const [q, k, v] = op.split(wide(mixed), [keys, keys, width], 1) as [Value, Value, Value];
    const logDecay = op.mul(
      op.neg(op.exp(weight(delta.decayLog))),
      op.unary("Softplus", op.add(wide(decay), weight(delta.decayBias))),
    );
    const memory = ["rows", valueHeads, keyDim, valueDim];
    const [found, present] = op.builder.node(
      "LinearAttention",
      [
        rows(this.#unitHeads(q, keyHeads, keyDim)),
        rows(this.#unitHeads(k, keyHeads, keyDim)),
        rows(v),
        op.builder.input(pastInput(layer, "memory"), "float32", memory),
        rows(op.mul(logDecay, taken)),
        rows(op.mul(op.sigmoid(wide(rate)), taken)),
      ],
      [
        { type: "float32", shape: ["rows", "row_tokens", width] },
        { type: "float32", shape: memory, name: presentOutput(layer, "memory") },
      ],
      {
        update_rule: "gated_delta",
        q_num_heads: keyHeads,
        kv_num_heads: valueHeads,
        scale: float(1 / Math.sqrt(keyDim)),
      },
      "com.microsoft",
    ) as [Value, Value];
    return { found: op.cast(this.#inputs.byToken(found, width), mixed.type), present };
  }

  /** Each head of length 1, in the sense of x / sqrt(|x|² + 1e-6). */
  #unitHeads(x: Value, heads: number, size: number): Value {
    const gain = inlineTable(this.#op, `unit.${size}`, [size], new Float32Array(size).fill(1 / Math.sqrt(size)));
    const apart = this.#op.reshape(x, ["tokens", heads, size]);
    const unit = this.#norms.normBy({ kind: "rms", epsilon: 1e-6 / size }, apart, gain);
    return this.#op.reshape(unit, x.shape);
  }
}
