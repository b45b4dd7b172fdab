/** What training changes in a task model, and the tensors that it trains, in PEFT's names and shapes. */

import type { TaskModule } from "./target-modules.js";
import type { ModuleKind, WeightedNode } from "./weighted-nodes.js";

/** A low-rank product beside a module. */
export interface LoraForm {
  readonly kind: "lora";
  readonly rank: number;
  readonly alpha: number;
  readonly scale: number;
  /** Also a magnitude for each output (arXiv:2402.09353). */
  readonly dora: boolean;
  /** Probability that an element of the product's input is dropped. */
  readonly dropout: number;
}

/** The module's own weight and bias, in the base's place. */
export interface WholeForm {
  readonly kind: "whole";
  readonly outFeatures: number;
  readonly hasBias: boolean;
  /** Whether it starts at random instead of with the base's values. */
  readonly isFresh: boolean;
}

/** The module's bias, in the base's place. */
export interface BiasForm {
  readonly kind: "bias";
  /** Whether the module also has a low-rank product, so that PEFT keeps its bias below an adapter. */
  readonly isAdapted: boolean;
  /** The layers that add it: those of the module, or the convolution that its normalization was folded into. */
  readonly layers: readonly WeightedNode[];
  /** What the layers add besides; null: nothing. */
  readonly offset: Float32Array | null;
}

export interface TrainedTarget {
  readonly module: TaskModule;
  readonly form: LoraForm | WholeForm | BiasForm;
}

export interface TrainedTensor {
  readonly name: string;
  readonly shape: readonly number[];
}

/** Names of a module's tensors, without the prefix that PEFT puts in front. */
export function tensorNames({ path, kind }: Pick<TaskModule, "path" | "kind">) {
  const [a, b] = kind === "table" ? ["lora_embedding_A", "lora_embedding_B"] : ["lora_A.weight", "lora_B.weight"];
  return {
    a: `${path}.${a}`,
    b: `${path}.${b}`,
    magnitude: `${path}.lora_magnitude_vector`,
    weight: `${path}.weight`,
    bias: `${path}.bias`,
    adaptedBias: `${path}.base_layer.bias`,
    mask: `dropout.${path}`,
  };
}

export const biasName = (module: TaskModule, { isAdapted }: BiasForm): string =>
  tensorNames(module)[isAdapted ? "adaptedBias" : "bias"];

export function trainedTensors({ module, form }: TrainedTarget): TrainedTensor[] {
  const names = tensorNames(module);
  const { kind, inFeatures, outFeatures, kernel, groups } = module;
  if (form.kind === "bias") return [{ name: biasName(module, form), shape: [outFeatures] }];
  if (form.kind === "whole") {
    const { outFeatures: outputs, hasBias } = form;
    const weight = kind === "table" ? [inFeatures, outputs] : [outputs, inFeatures / groups, ...kernel];
    return [{ name: names.weight, shape: weight }, ...(hasBias ? [{ name: names.bias, shape: [outputs] }] : [])];
  }
  const { rank, dora } = form;
  return [
    { name: names.a, shape: [rank, inFeatures, ...kernel] },
    { name: names.b, shape: [outFeatures, rank / groups, ...kernel.map(() => 1)] },
    ...(dora ? [{ name: names.magnitude, shape: magnitudeShape(kind, outFeatures, kernel) }] : []),
  ];
}

const magnitudeShape = (kind: ModuleKind, outputs: number, kernel: readonly number[]): number[] =>
  kind === "convolution" ? [1, outputs, ...kernel.map(() => 1)] : [outputs];
