/** Small checkpoints of chosen tensors on disk, and seeded numbers to fill them with. */

import { join } from "node:path";
import type { Checkpoint, TensorLocation } from "../../src/model/types.js";
import { float32ToBfloat16, float32ToFloat16 } from "../../src/tensor/half.js";
import { SafetensorsFile } from "../../src/tensor/safetensors.js";
import { writeSafetensors } from "../../src/tensor/safetensors-write.js";

export interface SyntheticTensor {
  readonly dtype: "F32" | "F16" | "BF16" | "F64";
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

const encoders = {
  F32: (values: Float32Array) => values,
  F16: (values: Float32Array) => float32ToFloat16(values),
  BF16: (values: Float32Array) => float32ToBfloat16(values),
  F64: (values: Float32Array) => Float64Array.from(values),
};

export async function writeCheckpoint(
  directory: string,
  tensors: Readonly<Record<string, SyntheticTensor>>,
): Promise<Pick<Checkpoint, "tensors">> {
  const path = join(directory, "model.safetensors");
  const entries = Object.entries(tensors).map(([name, { dtype, shape, values }]) => {
    return { name, dtype, shape, data: encoders[dtype](values) };
  });
  await writeSafetensors(path, entries);
  await using file = await SafetensorsFile.open(path);
  const locations = new Map<string, TensorLocation>();
  for (const [name, stored] of file.tensors) locations.set(name, { name, file: path, ...stored });
  return { tensors: locations };
}

/** Normally distributed numbers, the same for the same seed. */
export function gaussian(seed: number, count: number, deviation = 1): Float32Array {
  const random = mulberry32(seed);
  return Float32Array.from({ length: count }, () => {
    const radius = Math.sqrt(-2 * Math.log(1 - random()));
    return deviation * radius * Math.cos(2 * Math.PI * random());
  });
}

function mulberry32(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
