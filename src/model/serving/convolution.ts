/** Causal convolutions over a window of earlier tokens that each row keeps between steps. */
import type { Ops } from "../../graph/ops.js";
import type { Shape, Value } from "../../graph/types.js";
import type { CausalFilter } from "../blueprint.js";
import { plainWeight, type WeightSource } from "../weights.js";
import { pastInput, presentOutput } from "./cache-names.js";
import type { StepInputs } from "./step-inputs.js";

export class Convolution {
  readonly #op: Ops;
  readonly #weights: WeightSource;
  readonly #inputs: StepInputs;

  constructor(op: Ops, weights: WeightSource, inputs: StepInputs) {
    this.#op = op;
    this.#weights = weights;
    this.#inputs = inputs;
  }

  /** From sums of products of each place, so that no bit depends on how the tokens before lie in steps. In float32. Also the next window. */
  build(layer: number, filter: CausalFilter, x: Value): { readonly y: Value; readonly present: Value } {
    const op = this.#op;
    const { path, channels, width, bias } = filter;
    const reach = width - 1;
    const window = ["rows", reach, channels];
    const past = op.builder.input(pastInput(layer, "window"), "float32", window);
    const own = this.#inputs.byRow(op.cast(x, "float32"));
    const read = op.concat([past, own], 1);
    const present = this.#kept(layer, read, window);
    const weight = op.cast(plainWeight(op.builder, this.#weights, `${path}.weight`), "float32");
    const products = Array.from({ length: width }, (_, i) =>
      op.mul(this.#from(read, i, i - reach, own), op.reshape(op.slice(weight, 2, i, i + 1), [channels])),
    );
    const sum = products.reduce((total, product) => op.add(total, product));
    const y = bias ? op.add(sum, op.cast(plainWeight(op.builder, this.#weights, `${path}.bias`), "float32")) : sum;
    return { y: op.cast(this.#inputs.byToken(y, channels), x.type), present };
  }

  /** Tokens from `start` of each row up to `behind` before its end, as many as `like` has. */
  #from(read: Value, start: number, behind: number, like: Value): Value {
    const list = (value: number): Value => this.#op.builder.constant("int64", [1], [value]);
    const end = behind === 0 ? 2 ** 31 - 1 : behind;
    return this.#op.one("Slice", [read, list(start), list(end), list(1)], read.type, like.shape);
  }

  /** The tokens of a row that its next one still reads. A row that takes no token in keeps those that it had. */
  #kept(layer: number, read: Value, window: Shape): Value {
    const [kept] = this.#op.builder.node(
      "GatherND",
      [read, this.#inputs.windowPlaces(window[1] as number)],
      [{ type: "float32", shape: window, name: presentOutput(layer, "window") }],
      { batch_dims: 1 },
    ) as [Value];
    return kept;
  }
}
