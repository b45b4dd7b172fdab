/** What a training graph trains, and the graph inputs of the trained values. */
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
  /** Frozen weights. Quantized ones need a second copy for the backward pass, see `backwardPath`. In mode `full` only shapes are read. */
  readonly weights: WeightSource;
  readonly mode: "lora" | "full";
  /** Mode `lora`: the target modules, by path. */
  readonly modules: ReadonlyMap<string, TrainedModule>;
  /** DoRA (arXiv:2402.09353): a trained magnitude per output, divided by a norm that is an input. */
  readonly dora?: boolean;
  /** Probability that an element of an adapter's input is dropped; the masks are inputs. Default 0. */
  readonly dropout?: number;
  /** Number of positions in the rotary tables. */
  readonly maxLength: number;
  /** Whether the graph says which labels are the likeliest tokens (`tokenHits`). */
  readonly countsHits?: boolean;
  /** A layer of this many labels in place of the head, trained whole. Default: the head. */
  readonly score?: { readonly outFeatures: number };
  /** The number of chunks of labelled rows in the head: only one chunk's logits are held at a time. */
  readonly chunks: number;
}

/** The path of a quantized layer's transposed copy for gradients. */
export const backwardPath = (path: string): string => `${path}.backward`;

/** That copy as a layer: its inputs are gradients of the layer's outputs. */
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

/** Trained values: graph inputs, created on first use. */
export class Parameters {
  readonly #builder: GraphBuilder;
  readonly #options: TrainingOptions;
  readonly #inputs = new Map<string, Value>();

  constructor(builder: GraphBuilder, options: TrainingOptions) {
    this.#builder = builder;
    this.#options = options;
  }

  get list(): Value[] {
    return [...this.#inputs.values()];
  }

  input(name: string, shape: Shape): Value {
    const value = this.#inputs.get(name) ?? this.#builder.input(name, "float32", shape);
    this.#inputs.set(name, value);
    return value;
  }

  /** A tensor of the checkpoint as a parameter; null if it is frozen. */
  trained(name: string): Value | null {
    if (this.#options.mode === "lora") return null;
    const weight = this.#options.weights.get(name);
    return weight ? this.input(name, weight.shape) : null;
  }
}
