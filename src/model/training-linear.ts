/** Linear layers of the training graph: frozen, adapted or trained whole. */
import { assert } from "../base/errors.js";
import { type CustomGradient, detached } from "../graph/gradient.js";
import type { Ops } from "../graph/ops.js";
import type { Dim, Value } from "../graph/types.js";
import type { LinearPart } from "./decoder.js";
import { buildLinear, packedPart } from "./serving-linear.js";
import { backwardPart, type Parameters, siteInputs, type TrainedSite, type TrainingOptions } from "./training-types.js";
import { externalInitializer, weightOf } from "./weights.js";

export class TrainingLinears {
  readonly #op: Ops;
  readonly #options: TrainingOptions;
  readonly #parameters: Parameters;
  readonly #custom: CustomGradient[];

  constructor(op: Ops, options: TrainingOptions, parameters: Parameters, custom: CustomGradient[]) {
    this.#op = op;
    this.#options = options;
    this.#parameters = parameters;
    this.#custom = custom;
  }

  /** One output for each part; all read x [tokens, in]. `mask` stands in for the dropout mask of a single part. */
  apply(parts: readonly LinearPart[], x: Value, mask: Value | null = null): Value[] {
    const { dora = false, dropout = 0 } = this.#options;
    const quantized = this.#quantized(parts, x);
    const bases = parts.map((part) => quantized.get(part) ?? this.#base(part, x, dora && this.site(part) !== null));
    const adapted = parts.filter((part) => this.site(part));
    if (adapted.length === 0) return bases;
    const inner =
      dropout > 0
        ? adapted.map((part) => this.#narrow(part, this.#dropped(x, mask ?? this.mask(part, x.shape[0] ?? 1))))
        : this.#joined(adapted, x);
    return parts.map((part, i) => {
      const base = bases[i] ?? x;
      const h = inner[adapted.indexOf(part)];
      return h ? this.#widen(part, base, h) : base;
    });
  }

  site({ path }: LinearPart): TrainedSite | null {
    return (this.#options.mode === "lora" && this.#options.sites.get(path)) || null;
  }

  /** A x of parts that share x, by one product over all their ranks: its gradient is one product too. */
  #joined(parts: readonly LinearPart[], x: Value): Value[] {
    const op = this.#op;
    const [only, ...others] = parts;
    if (only && others.length === 0) return [this.#narrow(only, x)];
    const sizes = parts.map((part) => this.site(part)?.rank ?? 0);
    const all = op.concat(
      parts.map((part) => this.#a(part)),
      1,
    );
    return op.split(op.matMul(x, all), sizes, 1);
  }

  #narrow(part: LinearPart, x: Value): Value {
    return this.#op.matMul(x, this.#a(part));
  }

  /** base + s B h; with DoRA the sum times its gain, and only then the bias. */
  #widen(part: LinearPart, base: Value, h: Value): Value {
    const { dora = false, dropout = 0 } = this.#options;
    const scale = (this.site(part)?.scale ?? 1) / (1 - dropout);
    const sum = this.#op.gemm(h, this.#b(part), base, scale === 1 ? {} : { alpha: scale });
    if (!dora) return sum;
    const gained = this.#op.mul(sum, this.#gain(part));
    const bias = this.#bias(part);
    return bias ? this.#op.add(gained, bias) : gained;
  }

  /** m / |W + s B A| for each output. The norm counts as a constant, as in the paper (section 4.3). */
  #gain(part: LinearPart): Value {
    const op = this.#op;
    const { path, outFeatures } = part;
    const magnitude = this.#parameters.input(siteInputs(path).magnitude, [outFeatures]);
    const [a, b, w] = [this.#a(part), this.#b(part), this.#fp32(path)];
    const alpha = this.site(part)?.scale ?? 1;
    const whole = weightOf(this.#options.weights, `${path}.weight`).transposed
      ? op.gemm(a, b, w, { alpha }) // [in, out]
      : op.gemm(b, a, w, { transA: true, transB: true, alpha }); // [out, in]
    const axis = weightOf(this.#options.weights, `${path}.weight`).transposed ? 0 : 1;
    const norm = op.sqrt(op.sum(op.mul(whole, whole), [axis], false));
    this.#custom.push(detached(norm, [a, b]));
    return op.div(magnitude, norm);
  }

  #a({ path, inFeatures }: LinearPart): Value {
    return this.#parameters.input(siteInputs(path).a, [inFeatures, this.#options.sites.get(path)?.rank ?? 0]);
  }

  #b({ path, outFeatures }: LinearPart): Value {
    return this.#parameters.input(siteInputs(path).b, [this.#options.sites.get(path)?.rank ?? 0, outFeatures]);
  }

  /** Which elements of a part's input its adapter keeps: a graph input, bool [rows, in]. */
  mask({ path, inFeatures }: LinearPart, rows: Dim): Value {
    return this.#op.builder.input(siteInputs(path).mask, "bool", [rows, inFeatures]);
  }

  #dropped(x: Value, mask: Value): Value {
    return this.#op.where(mask, x, this.#op.like(x, 0));
  }

  #bias({ path }: LinearPart): Value | null {
    const name = `${path}.bias`;
    if (!this.#options.weights.has(name)) return null;
    return this.#parameters.trained(name) ?? this.#fp32Named(name);
  }

  #fp32(path: string): Value {
    return this.#fp32Named(`${path}.weight`);
  }

  #fp32Named(name: string): Value {
    const weight = weightOf(this.#options.weights, name);
    assert(weight.form === "fp32", `${name} is fp32, not ${weight.form}`);
    return externalInitializer(this.#op.builder, name, weight.data, weight.shape);
  }

  /** W x + b in fp32, W trained or frozen. */
  #base(part: LinearPart, x: Value, withoutBias: boolean): Value {
    const { transposed } = weightOf(this.#options.weights, `${part.path}.weight`);
    const w = this.#parameters.trained(`${part.path}.weight`) ?? this.#fp32(part.path);
    return this.#op.gemm(x, w, withoutBias ? null : this.#bias(part), { transB: !transposed });
  }

  /** Those parts whose products only run forwards. */
  #quantized(parts: readonly LinearPart[], x: Value): Map<LinearPart, Value> {
    const { weights } = this.#options;
    const whole = packedPart(weights, parts);
    const chosen = parts.filter(({ path }) => whole !== null || weightOf(weights, `${path}.weight`).form !== "fp32");
    const made = buildLinear(this.#op, weights, chosen, x);
    if (whole) this.#passBack(whole, x, made);
    else for (const [i, part] of chosen.entries()) this.#passBack(part, x, made.slice(i, i + 1));
    return new Map(chosen.map((part, i) => [part, made[i] ?? x]));
  }

  /** The gradient of a quantized product is the product by its transposed copy: dx = g W. `outputs` side by side are its result. */
  #passBack(part: LinearPart, x: Value, outputs: readonly Value[]): void {
    const { weights } = this.#options;
    const back = backwardPart(part);
    this.#custom.push({
      inputs: [x],
      outputs,
      vjp: (op, gradients) => {
        const arrived = gradients.filter((gradient) => gradient !== null);
        assert(arrived.length === outputs.length, `every output of ${part.path} has a gradient`);
        const [only] = arrived;
        const joined = only && arrived.length === 1 ? only : op.concat(arrived, 1);
        return [buildLinear(op, weights, [back], joined)[0] ?? null];
      },
    });
  }
}
