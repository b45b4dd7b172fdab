/** What a training graph is asked to train, and the graph inputs that hold it. */
import type { GraphBuilder } from "../../graph/builder.js";
import type { Shape, Value } from "../../graph/types.js";
import type { TargetModule } from "../blueprint.js";
import type { DecoderConfig } from "../types.js";
import type { WeightSource } from "../weights.js";

/** An adapted linear layer: y = W x + scale · B (A x) + b. */
export interface TrainedModule {
  readonly rank: number;
  readonly scale: number;
}

export interface TrainingOptions {
  readonly config: DecoderConfig;
  /** Frozen weights; quantized linears need a second copy for the way back, see `backwardPath`. In mode `full` only shapes are read. */
  readonly weights: WeightSource;
  readonly mode: "lora" | "full";
  /** Mode `lora`: the adapted layers, by module path. */
  readonly modules: ReadonlyMap<string, TrainedModule>;
  /** Weight-decomposed (arXiv:2402.09353): a trained magnitude for each output, over a length that is an input. */
  readonly dora?: boolean;
  /** Probability that an element of an adapter's input is dropped; the masks are inputs. Default 0. */
  readonly dropout?: number;
  /** Positions that the rotary tables hold. */
  readonly maxLength: number;
  /** The head runs over labelled rows in this many chunks: the logits of one are held at a time. */
  readonly chunks: number;
}

/** The path under which a quantized linear's transposed copy, for gradients, stands among the weights. */
export const backwardPath = (path: string): string => `${path}.backward`;

/** That copy as a layer: what it reads are gradients of the layer's outputs. */
export const backwardPart = ({ path, inFeatures, outFeatures }: TargetModule): TargetModule => ({
  path: backwardPath(path),
  inFeatures: outFeatures,
  outFeatures: inFeatures,
});

/** Names of an adapted module's graph inputs. */
export const moduleInputs = (path: string) => ({
  a: `${path}.lora_A`,
  b: `${path}.lora_B`,
  magnitude: `${path}.lora_magnitude`,
  norm: `${path}.lora_norm`,
  mask: `dropout.${path}`,
});

/** Trained values, each a graph input made when it is first asked for. */
export class Parameters {
  readonly #builder: GraphBuilder;
  readonly #options: TrainingOptions;
  readonly #made = new Map<string, Value>();

  constructor(builder: GraphBuilder, options: TrainingOptions) {
    this.#builder = builder;
    this.#options = options;
  }

  get list(): Value[] {
    return [...this.#made.values()];
  }

  input(name: string, shape: Shape): Value {
    const value = this.#made.get(name) ?? this.#builder.input(name, "float32", shape);
    this.#made.set(name, value);
    return value;
  }

  /** A tensor of the checkpoint where all of them are trained; null where it is frozen. */
  trained(name: string): Value | null {
    if (this.#options.mode === "lora") return null;
    const weight = this.#options.weights.get(name);
    return weight ? this.input(name, weight.shape) : null;
  }
}
