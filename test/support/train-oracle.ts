/** The oracle's training runs: batches, losses, gradients and weights as PyTorch computes them, and our parameters to compare. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { openCheckpoint } from "../../src/model/checkpoint/open.js";
import { targetModules } from "../../src/model/modules.js";
import type { TrainedModule } from "../../src/model/training/types.js";
import type { Checkpoint } from "../../src/model/types.js";
import { SafetensorsFile } from "../../src/tensor/safetensors.js";
import type { TokenBatch } from "../../src/train/data/batch.js";
import { type StepOptions, TrainStep } from "../../src/train/step.js";
import { toFloat32 } from "../../src/weights/convert/task.js";
import { WeightNorms } from "../../src/weights/norms.js";
import { planWeights } from "../../src/weights/plan.js";
import { prepareWeights } from "../../src/weights/prepare.js";

/** Elsewhere the oracle may be whole; the repository holds what its tests need. */
export const oracleRoot = process.env.LORIKEET_ORACLE ?? "test/fixtures/oracle";
export const isThere = (family: string, run: string): boolean => existsSync(join(oracleRoot, family, run));

export type Tensors = ReadonlyMap<string, { readonly shape: readonly number[]; readonly data: Float32Array }>;

export async function readTensors(file: string): Promise<Tensors> {
  await using opened = await SafetensorsFile.open(file);
  const out = new Map<string, { shape: readonly number[]; data: Float32Array }>();
  for (const [name, { shape }] of opened.tensors) out.set(name, { shape, data: await opened.readFloat32(name) });
  return out;
}

export interface OracleRun {
  readonly folder: string;
  readonly checkpoint: Checkpoint;
  readonly losses: Float64Array;
  readonly norms: Float64Array;
  readonly batches: readonly TokenBatch[];
}

/** A run's batches, or null for a file without `input_ids` (preferences). */
export async function readRun(family: string, run: string): Promise<OracleRun> {
  const folder = join(oracleRoot, family, run);
  const numbers = await readNumbers(join(folder, "batches.safetensors"));
  const ids = numbers.get("input_ids");
  const labels = numbers.get("labels");
  const [count = 0, rows = 0, length = 0] = ids?.shape ?? [];
  const slice = (data: number[] | undefined, i: number): Int32Array =>
    Int32Array.from(data?.slice(i * rows * length, (i + 1) * rows * length) ?? []);
  return {
    folder,
    checkpoint: await openCheckpoint(join(oracleRoot, family)),
    losses: Float64Array.from(numbers.get("losses")?.data ?? []),
    norms: Float64Array.from(numbers.get("gradient_norms")?.data ?? []),
    batches: Array.from({ length: count }, (_, i) => ({
      rows,
      length,
      ids: slice(ids?.data, i),
      labels: slice(labels?.data, i),
    })),
  };
}

/** Tensors of int64 or float64. */
export async function readNumbers(file: string): Promise<Map<string, { shape: readonly number[]; data: number[] }>> {
  await using opened = await SafetensorsFile.open(file);
  const out = new Map<string, { shape: readonly number[]; data: number[] }>();
  for (const [name, { shape, dtype }] of opened.tensors) {
    const { buffer, byteOffset, byteLength } = await opened.read(name);
    const data =
      dtype === "I64"
        ? [...new BigInt64Array(buffer, byteOffset, byteLength / 8)].map(Number)
        : [...new Float64Array(buffer, byteOffset, byteLength / 8)];
    out.set(name, { shape, data });
  }
  return out;
}

/** A step over every weight of the run's checkpoint, which are read into it. */
export async function fullStep({ checkpoint }: OracleRun, options: Partial<StepOptions> = {}): Promise<TrainStep> {
  const { config, tensors } = checkpoint;
  const prepared = await prepareWeights(checkpoint, planWeights(config, tensors, { dtype: "fp32" }));
  const common = { config, weights: prepared.weights, maxLength: 64, chunks: 3, threads: 1 };
  const step = TrainStep.create({ ...common, mode: "full", modules: new Map(), ...options });
  for (const { name, data } of step.parameters) {
    const place = tensors.get(name);
    if (!place) throw new Error(`The checkpoint has no ${name}`);
    data.set(toFloat32(place.dtype, readFileSync(place.file).subarray(place.offset, place.offset + place.byteLength)));
  }
  return step;
}

/** A step over the run's adapter, its parameters as they were before the first step. */
export async function adapterStep(run: OracleRun, options: Partial<StepOptions> = {}): Promise<TrainStep> {
  const { config, tensors } = run.checkpoint;
  const initial = await readTensors(join(run.folder, "initial", "adapter_model.safetensors"));
  const json = JSON.parse(readFileSync(join(run.folder, "initial", "adapter_config.json"), "utf8"));
  const modules = new Map<string, TrainedModule>();
  for (const { path } of targetModules(config)) {
    const rank = initial.get(`base_model.model.${path}.lora_A.weight`)?.shape[0];
    if (rank !== undefined) modules.set(path, { rank, scale: json.lora_alpha / rank });
  }
  const prepared = await prepareWeights(run.checkpoint, planWeights(config, tensors, { dtype: "fp32" }));
  const step = TrainStep.create({
    config,
    weights: prepared.weights,
    mode: "lora",
    modules,
    dora: json.use_dora,
    norms: new WeightNorms(run.checkpoint, { threads: 1 }),
    maxLength: 64,
    chunks: 3,
    threads: 1,
    ...options,
  });
  for (const parameter of step.parameters) parameter.data.set(fromPeft(initial, parameter.name));
  return step;
}

/** PEFT's tensor for one of our parameters, in our layout: A and B transposed, layers that are saved whole as they are. */
export function fromPeft(tensors: Tensors, name: string): Float32Array {
  const stored = `base_model.model.${name.replace(/lora_[AB]$/, "$&.weight").replace(/lora_magnitude$/, "lora_magnitude_vector")}`;
  const tensor = tensors.get(stored) ?? tensors.get(`${stored}.weight`);
  if (!tensor) throw new Error(`The oracle has no ${stored}`);
  const [rows = 1, columns = 1] = tensor.shape;
  if (tensor.shape.length === 1 || !name.includes(".lora_")) return tensor.data;
  return Float32Array.from({ length: rows * columns }, (_, i) => {
    const [column, row] = [Math.floor(i / rows), i % rows];
    return tensor.data[row * columns + column] as number;
  });
}

/** The largest difference, as a share of the largest entry of `expected`. */
export function relativeDifference(found: Float32Array, expected: Float32Array): number {
  let [difference, largest] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    difference = Math.max(difference, Math.abs((found[i] as number) - (expected[i] as number)));
    largest = Math.max(largest, Math.abs(expected[i] as number));
  }
  return difference / largest;
}
