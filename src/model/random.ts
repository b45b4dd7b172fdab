/**
 * Writes checkpoints of random weights, for any supported config and reproducible from a seed. For benchmarks and tests in which
 * only a model's shape matters.
 */

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { at } from "../base/list.js";
import { float32ToBfloat16, float32ToFloat16 } from "../tensor/half.js";
import { writeSafetensors } from "../tensor/safetensors-write.js";
import { elementCount } from "../tensor/shape.js";
import { readDecoderConfig } from "./config/read.js";
import { type ExpectedTensor, expectedTensors } from "./modules.js";
import type { DecoderConfig } from "./types.js";

type FloatDtype = "F32" | "F16" | "BF16";
type FloatArray = Float32Array | Uint16Array;

export interface RandomCheckpointOptions {
  readonly seed?: number;
  /** Default BF16. */
  readonly dtype?: FloatDtype;
  /** Standard deviation of matrices and embeddings. Default 0.02. */
  readonly deviation?: number;
}

/**
 * Writes config.json and model.safetensors into `directory`, which is created if missing. Matrices and embeddings are normal,
 * norms one, biases zero. Holds one tensor in memory at a time. Returns the config. Throws what readDecoderConfig throws.
 */
export async function writeRandomCheckpoint(
  directory: string,
  configJson: unknown,
  { seed = 1, dtype = "BF16", deviation = 0.02 }: RandomCheckpointOptions = {},
): Promise<DecoderConfig> {
  const config = readDecoderConfig(configJson);
  const normals = encode(normalTable(deviation), dtype);
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, "config.json"), `${JSON.stringify(configJson, null, 2)}\n`);
  const tensors = expectedTensors(config).map((tensor) => ({
    name: tensor.name,
    dtype,
    shape: tensor.shape,
    data: () => fresh(tensor, dtype, normals, seed),
  }));
  await writeSafetensors(join(directory, "model.safetensors"), tensors, { format: "pt" });
  return config;
}

function fresh(
  { name, shape, role, initial = 0 }: ExpectedTensor,
  dtype: FloatDtype,
  normals: FloatArray,
  seed: number,
): FloatArray {
  const count = elementCount(shape);
  const values = dtype === "F32" ? new Float32Array(count) : new Uint16Array(count); // zeros in every dtype
  switch (role) {
    case "bias":
      return values;
    case "norm": {
      return values.fill(at(encode(new Float32Array([initial]), dtype), 0));
    }
    default:
      drawInto(values, normals, hash(name, seed));
      return values;
  }
}

const tableBits = 16;

/** The quantiles of a normal distribution at 2^16 equal steps, float32: a random entry is a normal draw. */
function normalTable(deviation: number): Float32Array {
  const size = 2 ** tableBits;
  const table = new Float32Array(size);
  for (let i = 0; i < size; i++) table[i] = deviation * normalQuantile((i + 0.5) / size);
  return table;
}

/** Winitzki's approximation through the inverse error function, within 5e-3, which is enough for random weights. */
function normalQuantile(probability: number): number {
  const x = 2 * probability - 1;
  const a = 0.147;
  const logarithm = Math.log(1 - x * x);
  const half = 2 / (Math.PI * a) + logarithm / 2;
  return Math.SQRT2 * Math.sign(x) * Math.sqrt(Math.sqrt(half * half - logarithm / a) - half);
}

/** Fills with draws from the table by xorshift32. Integer arithmetic, since a model can have 10^9 weights. */
function drawInto(values: FloatArray, table: FloatArray, start: number): void {
  let state = start || 1;
  for (let i = 0; i < values.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    values[i] = at(table, state >>> (32 - tableBits));
  }
}

/** FNV-1a over the name, mixed with the seed: each tensor has its own stream, independent of the order of writing. */
function hash(name: string, seed: number): number {
  let state = (0x811c9dc5 ^ Math.imul(seed, 0x9e3779b1)) >>> 0;
  for (const byte of Buffer.from(name)) state = Math.imul(state ^ byte, 0x01000193) >>> 0;
  return state;
}

function encode(values: Float32Array, dtype: FloatDtype): FloatArray {
  switch (dtype) {
    case "F32":
      return values;
    case "F16":
      return float32ToFloat16(values);
    case "BF16":
      return float32ToBfloat16(values);
  }
}
