/**
 * Names of our options in other programs: transformers, TRL, PEFT, mlx-lm, axolotl, vLLM, llama.cpp. None is accepted: a command
 * that has the option suggests our name.
 */

import { flagName } from "./names.js";

/** By their names on a command line. If commands name the same thing differently, the first that the command has is suggested. */
export const commonNames: Readonly<Record<string, readonly string[]>> = {
  // models and adapters
  m: ["model"],
  "model-name-or-path": ["model"],
  "model-name": ["model"],
  "model-id": ["model"],
  "model-path": ["model"],
  "base-model": ["model"],
  lora: ["adapter", "adapters"],
  "lora-path": ["adapter", "adapters"],
  "lora-dir": ["adapter", "adapters"],
  "lora-modules": ["adapter", "adapters"],
  "enable-lora": ["adapter", "adapters"],
  "adapter-name": ["adapter"],
  "adapter-name-or-path": ["adapter", "initFrom"],
  "adapter-path": ["adapter", "outputDir"],
  "adapters-path": ["adapters"],
  "adapters-dir": ["adapters"],
  "max-lora-rank": ["maxAdapterRank"],
  "torch-dtype": ["dtype"],
  quantization: ["dtype"],
  quantize: ["dtype"],
  "load-in-4bit": ["dtype"],
  "load-in-8bit": ["dtype"],
  t: ["threads"],
  "num-threads": ["threads"],
  "n-threads": ["threads"],
  // training
  dataset: ["data"],
  "dataset-name": ["data"],
  "dataset-path": ["data"],
  "data-path": ["data"],
  "train-file": ["data"],
  o: ["outputDir"],
  output: ["outputDir"],
  "output-path": ["outputDir"],
  "save-path": ["outputDir"],
  "overwrite-output-dir": ["overwrite"],
  force: ["overwrite"],
  lr: ["learningRate"],
  "lr-scheduler": ["lrSchedulerType"],
  scheduler: ["lrSchedulerType"],
  "min-lr": ["minLrRate"],
  "min-lr-ratio": ["minLrRate"],
  warmup: ["warmupSteps"],
  "warmup-ratio": ["warmupSteps"],
  "num-warmup-steps": ["warmupSteps"],
  "num-train-epochs": ["epochs"],
  "num-epochs": ["epochs"],
  iters: ["maxSteps"],
  "max-iters": ["maxSteps"],
  "num-steps": ["maxSteps"],
  "max-train-steps": ["maxSteps"],
  "per-device-train-batch-size": ["batchSize"],
  "micro-batch-size": ["batchSize"],
  "train-batch-size": ["batchSize"],
  "grad-accumulation-steps": ["gradientAccumulationSteps"],
  "gradient-accumulation": ["gradientAccumulationSteps"],
  "grad-accum": ["gradientAccumulationSteps"],
  "grad-checkpoint": ["gradientCheckpointing"],
  "grad-checkpointing": ["gradientCheckpointing"],
  "grad-clip": ["maxGradNorm"],
  "max-seq-length": ["maxLength", "maxContext"],
  "max-seq-len": ["maxLength", "maxContext"],
  "sequence-len": ["maxLength", "maxContext"],
  "cutoff-len": ["maxLength"],
  "block-size": ["maxLength"],
  r: ["loraR"],
  "lora-rank": ["loraR"],
  "lora-target": ["targetModules"],
  "lora-target-modules": ["targetModules"],
  "fine-tune-type": ["method"],
  "train-type": ["method"],
  "dpo-beta": ["beta"],
  "completion-only-loss": ["trainOn"],
  "assistant-only-loss": ["trainOn"],
  "train-on-inputs": ["trainOn"],
  "mask-prompt": ["trainOn"],
  "group-by-length": ["lengthWindow"],
  "resume-from-checkpoint": ["resume"],
  "resume-adapter-file": ["initFrom"],
  "save-steps": ["evalSteps"],
  "steps-per-eval": ["evalSteps"],
  "eval-interval": ["evalSteps"],
  "val-size": ["validationSplit"],
  "val-set-size": ["validationSplit"],
  "test-size": ["validationSplit"],
  "early-stopping": ["earlyStoppingPatience"],
  wandb: ["reportTo"],
  // evaluating
  limit: ["maxEvalSamples"],
  "max-samples": ["maxEvalSamples"],
  "num-samples": ["maxEvalSamples"],
  "eval-batch-size": ["maxBatch"],
  "per-device-eval-batch-size": ["maxBatch"],
  // serving
  c: ["maxContext"],
  "ctx-size": ["maxContext"],
  "n-ctx": ["maxContext"],
  "max-model-len": ["maxContext"],
  "max-total-tokens": ["maxContext"],
  parallel: ["maxBatch"],
  "max-num-seqs": ["maxBatch"],
  "max-batch-size": ["maxBatch", "batchSize"],
  "max-concurrent-requests": ["maxBatch"],
  "max-queue-size": ["maxQueue"],
  "kv-cache-memory-bytes": ["kvBytes"],
  "api-key": ["apiKeyFile"],
  alias: ["servedModelName"],
  "model-alias": ["servedModelName"],
  hostname: ["host"],
  listen: ["host"],
  bind: ["host"],
  p: ["port"],
  "cors-origins": ["allowedOrigins"],
  "allow-origins": ["allowedOrigins"],
  "uvicorn-log-level": ["logLevel"],
  verbose: ["logLevel"],
  timeout: ["requestTimeout"],
  // generating
  n: ["maxTokens"],
  "n-predict": ["maxTokens"],
  predict: ["maxTokens"],
  "num-predict": ["maxTokens"],
  "max-new-tokens": ["maxTokens"],
  temp: ["temperature"],
  "stop-sequences": ["stop"],
  "reverse-prompt": ["stop"],
  "rng-seed": ["seed"],
  conversation: ["chat"],
};

/** Not options here: what to use instead. */
const otherWays: Readonly<Record<string, string>> = {
  prompt: 'The prompt is an argument: lorikeet generate --model <model> "It was".',
  revision: "A revision belongs to the name: org/name@revision.",
  token: "The hub's token is read from HF_TOKEN.",
  "hf-token": "The hub's token is read from HF_TOKEN.",
};

/** The command's flag for an option name of another program; null if there is none. */
export function commonFlag(name: string, commandFlags: readonly string[]): string | null {
  const plain = name.toLowerCase().replaceAll("_", "-");
  const known = Object.hasOwn(commonNames, plain) ? (commonNames[plain] ?? []) : [];
  return [plain, ...known.map(flagName)].find((flag) => commandFlags.includes(flag)) ?? null;
}

/** A sentence about an option that does not exist here under any name; null if there is none. */
export function otherWay(name: string): string | null {
  return Object.hasOwn(otherWays, name) ? (otherWays[name] ?? null) : null;
}
