/** Linear layers of the training graph: frozen, adapted or fully trained. */
import { assert } from "../../base/errors.js";
import { at, only, zip } from "../../base/list.js";
import type { CustomGradient } from "../../graph/gradient.js";
import type { Ops } from "../../graph/ops.js";
import type { Dim, Value } from "../../graph/types.js";
import type { TargetModule } from "../blueprint.js";
import { biasesOf, buildLinear, joinedPart } from "../serving/linear.js";
import { externalInitializer, weightOf } from "../weights.js";
import { buildBackward, buildHeadBackward } from "./products.js";
import { moduleInputs, type Parameters, type TrainedModule, type TrainingOptions } from "./types.js";

export interface ApplyOptions {
  readonly joined?: string | null;
  readonly mask?: Value | null;
}

/** Parts that read the same input, and their joined layer if their weights are joined. */
interface Group {
  readonly parts: readonly TargetModule[];
  readonly whole: TargetModule | null;
}

export class TrainingLinears {
  readonly #op: Ops;
  readonly #options: TrainingOptions;
  readonly #parameters: Parameters;
  readonly #custom: CustomGradient[];
  readonly #norms = new Map<string, Value>();

  constructor(op: Ops, options: TrainingOptions, parameters: Parameters, custom: CustomGradient[]) {
    this.#op = op;
    this.#options = options;
    this.#parameters = parameters;
    this.#custom = custom;
  }

  /**
   * One output per part; all read x [tokens, in]. Their weights may be `joined` under a path. `mask` replaces the dropout mask of a
   * single part.
   */
  apply(parts: readonly TargetModule[], x: Value, { joined = null, mask = null }: ApplyOptions = {}): Value[] {
    const { dora = false, dropout = 0 } = this.#options;
    const adapted = parts.filter((part) => this.module(part));
    const decomposed = dora && adapted.length > 0;
    const group = { parts, whole: joinedPart(this.#options.weights, parts, joined) };
    const bases = this.#products(group, x, !decomposed);
    if (adapted.length === 0) return bases;
    const dropped = new Map(
      dropout > 0
        ? adapted.map((part) => [part, this.#dropped(x, mask ?? this.mask(part, at(x.shape, 0)))] as const)
        : [],
    );
    const inner = new Map(
      dropout > 0
        ? [...dropped].map(([part, input]) => [part, this.#narrow(part, input)] as const)
        : zip(adapted, this.#joined(adapted, x)),
    );
    const biases = decomposed ? biasesOf(this.#op, this.#options.weights, parts, joined) : parts.map(() => null);
    return zip(parts, zip(bases, biases)).map(([part, [base, bias]]) => {
      const h = inner.get(part);
      if (!h) return bias ? this.#op.add(base, bias) : base;
      if (!decomposed) return this.#widen(part, base, h);
      const input = dropped.get(part);
      return this.#decomposed(part, { base, bias, h, dropped: input ? this.#productOf(part, group, input) : null });
    });
  }

  /** The adapted module of a part; null if it is not adapted. */
  module(part: TargetModule): TrainedModule | null {
    return (this.#options.mode === "lora" && this.#options.modules.get(this.#moduleOf(part))) || null;
  }

  /** What adapters call a part. A tied head's weight is the embeddings', but its adapter is the head's. */
  #moduleOf({ path }: TargetModule): string {
    const { head } = this.#options.config;
    return path === head.linear.path ? head.path : path;
  }

  #adapted(part: TargetModule): TrainedModule {
    const module = this.module(part);
    assert(module, `${part.path} is adapted`);
    return module;
  }

  /** A x of parts that share x, as one product over all their ranks; its gradient is one product too. */
  #joined(parts: readonly TargetModule[], x: Value): Value[] {
    const op = this.#op;
    if (parts.length === 1) return [this.#narrow(at(parts, 0), x)];
    const sizes = parts.map((part) => this.#adapted(part).rank);
    const all = op.concat(
      parts.map((part) => this.#a(part)),
      1,
    );
    return op.split(op.matMul(x, all), sizes, 1);
  }

  #narrow(part: TargetModule, x: Value): Value {
    return this.#op.matMul(x, this.#a(part));
  }

  /** base + s B h, with s divided by dropout's keep probability. */
  #widen(part: TargetModule, base: Value, h: Value): Value {
    const scale = this.#adapted(part).scale / (1 - (this.#options.dropout ?? 0));
    return this.#op.gemm(h, this.#b(part), base, scale === 1 ? {} : { alpha: scale });
  }

  /**
   * DoRA: g (base + s B h) + bias with g = m / |W + s B A| for each output. The norm is an input, since it is treated as a constant
   * (section 4.3 of the paper). With dropout PEFT keeps base undropped and adds (g - 1) W x + g s B A x of the dropped x;
   * `dropped` is that W x.
   */
  #decomposed(
    part: TargetModule,
    {
      base,
      bias,
      h,
      dropped,
    }: { readonly base: Value; readonly bias: Value | null; readonly h: Value; readonly dropped: Value | null },
  ): Value {
    const op = this.#op;
    const biased = (sum: Value): Value => (bias ? op.add(sum, bias) : sum);
    if (!dropped) return biased(op.mul(this.#widen(part, base, h), this.#gain(part)));
    const scaled = op.scale(dropped, 1 / (1 - (this.#options.dropout ?? 0)));
    return op.add(biased(base), op.sub(op.mul(this.#widen(part, scaled, h), this.#gain(part)), scaled));
  }

  #gain(part: TargetModule): Value {
    const { magnitude, norm } = moduleInputs(this.#moduleOf(part));
    const length = this.#norms.get(norm) ?? this.#op.builder.input(norm, "float32", [part.outFeatures]);
    this.#norms.set(norm, length);
    return this.#op.div(this.#parameters.input(magnitude, [part.outFeatures]), length);
  }

  #a(part: TargetModule): Value {
    return this.#parameters.input(moduleInputs(this.#moduleOf(part)).a, [part.inFeatures, this.#adapted(part).rank]);
  }

  #b(part: TargetModule): Value {
    return this.#parameters.input(moduleInputs(this.#moduleOf(part)).b, [this.#adapted(part).rank, part.outFeatures]);
  }

  /** Which elements of a part's input its adapter keeps: a graph input, bool [rows, in]. */
  mask(part: TargetModule, rows: Dim): Value {
    return this.#op.builder.input(moduleInputs(this.#moduleOf(part)).mask, "bool", [rows, part.inFeatures]);
  }

  #dropped(x: Value, mask: Value): Value {
    return this.#op.where(mask, x, this.#op.like(x, 0));
  }

  #bias({ path }: TargetModule): Value | null {
    const name = `${path}.bias`;
    if (!this.#options.weights.has(name)) return null;
    return this.#parameters.trained(name) ?? this.#fp32(name);
  }

  #fp32(name: string): Value {
    const weight = weightOf(this.#options.weights, name);
    assert(weight.form === "fp32", `${name} is fp32, not ${weight.form}`);
    return externalInitializer(this.#op.builder, name, weight.data, weight.shape);
  }

  /** W x + b of each part. */
  #products(group: Group, x: Value, biased: boolean): Value[] {
    const quantized = this.#quantized(group, x, biased);
    return group.parts.map((part) => quantized.get(part) ?? this.#base(part, x, biased));
  }

  /** The product in fp32, with W trained or frozen. */
  #base(part: TargetModule, x: Value, biased: boolean): Value {
    const { transposed } = weightOf(this.#options.weights, `${part.path}.weight`);
    const w = this.#parameters.trained(`${part.path}.weight`) ?? this.#fp32(`${part.path}.weight`);
    return this.#op.gemm(x, w, biased ? this.#bias(part) : null, { transB: !transposed });
  }

  /** W x of one part of a group, for another x. */
  #productOf(part: TargetModule, { parts, whole }: Group, x: Value): Value {
    const op = this.#op;
    const y = only(this.#products({ parts: [whole ?? part], whole: null }, x, false));
    if (!whole) return y;
    const first = parts.slice(0, parts.indexOf(part)).reduce((sum, { outFeatures }) => sum + outFeatures, 0);
    return op.slice(y, 1, first, first + part.outFeatures);
  }

  /** The parts with quantized weights, whose products need a custom gradient. */
  #quantized({ parts, whole }: Group, x: Value, biased: boolean): Map<TargetModule, Value> {
    const { weights } = this.#options;
    const chosen = parts.filter(({ path }) => whole !== null || weightOf(weights, `${path}.weight`).form !== "fp32");
    const outputs = buildLinear(this.#op, weights, chosen, x, { biased, joined: whole?.path ?? null });
    if (whole) this.#passBack(whole, x, outputs);
    else for (const [part, output] of zip(chosen, outputs)) this.#passBack(part, x, [output]);
    return new Map(zip(chosen, outputs));
  }

  /** The gradient of a quantized product is a product with the weight's transposed copy: dx = g W. The product's result is `outputs`, concatenated. */
  #passBack(part: TargetModule, x: Value, outputs: readonly Value[]): void {
    const { weights } = this.#options;
    this.#custom.push({
      inputs: [x],
      outputs,
      vjp: (op, gradients) => {
        const arrived = gradients.filter((gradient) => gradient !== null);
        assert(arrived.length === outputs.length, `every output of ${part.path} has a gradient`);
        const [only] = arrived;
        const joined = only && arrived.length === 1 ? only : op.concat(arrived, 1);
        const isHead = part.path === this.#options.config.head.linear.path;
        return [(isHead ? buildHeadBackward : buildBackward)(op, weights, part, joined)];
      },
    });
  }
}
