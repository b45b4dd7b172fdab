/** Counts the bytes that a run needs before it starts, and finds settings that fit. Coarse: only rejects what could never fit. */
import type { BaseDtype } from "../engine/start.js";
import { attentionBlocks } from "../model/training/masks.js";
import type { DecoderConfig } from "../model/types.js";

export interface MemoryShape {
  readonly config: DecoderConfig;
  readonly dtype: BaseDtype;
  /** Size of the frozen weights, forward and backward. */
  readonly weightBytes: number;
  readonly trainable: number;
  /** Whether the head is trained and therefore keeps a distribution per label. */
  readonly trainsHead: boolean;
  /** Rows of the largest batch. */
  readonly rows: number;
  readonly length: number;
  readonly gradientCheckpointing: boolean;
}

/** Code, heap and the runtime. */
export const processBytes = 150 * 2 ** 20;

/** Logits of one chunk of the head: 64 MiB, or an eighth of that over a quantized base model, whose head is packed once instead of per chunk. */
export const logitBytes = (dtype: BaseDtype): number => (dtype === "fp32" ? 64 : 8) * 2 ** 20;

/** Matrices [length, length] of each head that the backward pass of linear attention reads: decays, products, inverses. */
const deltaMatrices = 10;

/** Overhead of the runtime's allocator. */
const gaps = 1.15;

/**
 * Frozen weights (and their prepacked copy if quantized); activations that the backward pass reads; logits and distribution of one
 * chunk of the head; the optimizer's arrays.
 */
export function countBytes({ config, dtype, weightBytes, trainable, trainsHead, ...run }: MemoryShape): number {
  const { hiddenSize, intermediateSize, layerCount, headCount, kvHeadCount, headDim, vocabSize } = config;
  const { rows, length, gradientCheckpointing } = run;
  const tokens = rows * length;
  const keys = 2 * kvHeadCount * headDim;
  const queries = 2 * headCount * headDim; // and the attention output
  const blocks = attentionBlocks(length);
  const shares = (rows * headCount * length * length * (blocks + 1)) / (2 * blocks);
  const mixed = Math.max(shares, deltaElements(config, run));
  const perLayer = tokens * (4 * hiddenSize + 3 * intermediateSize + queries + keys) + mixed;
  const kept = gradientCheckpointing ? perLayer + layerCount * tokens * (2 * hiddenSize + keys) : layerCount * perLayer;
  const all = 4 * tokens * vocabSize;
  const logits = 2 * Math.min(logitBytes(dtype), all) + (trainsHead ? all : 0);
  const packed = dtype === "fp32" ? 0 : weightBytes;
  return processBytes + weightBytes + packed + 4 * (gaps * kept + 5 * trainable) + logits;
}

/** Elements of the square matrices that a layer of linear attention keeps: its rows are padded to a power of two. */
function deltaElements({ layers }: DecoderConfig, { rows, length }: Pick<MemoryShape, "rows" | "length">): number {
  const heads = layers.map(({ mixer: { body } }) => (body.kind === "delta" ? body.valueHeads : 0));
  return deltaMatrices * rows * Math.max(0, ...heads) * (2 ** Math.ceil(Math.log2(length))) ** 2;
}

export interface Fitting {
  readonly rows: number;
  readonly length: number;
  readonly gradientCheckpointing: boolean;
}

const leastLength = 64;

/** The settings nearest to these that fit into `memory`: fewer rows, then recomputation, and only then shorter rows. */
export function fitMemory(shape: MemoryShape, memory: number): Fitting | null {
  const parts = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];
  const all = parts
    .map((part) => Math.max(leastLength, Math.floor(shape.length / part)))
    .flatMap((length) => parts.map((part) => ({ length, rows: Math.ceil(shape.rows / part) })))
    .flatMap((choice) => [
      { ...choice, gradientCheckpointing: shape.gradientCheckpointing },
      { ...choice, gradientCheckpointing: true },
    ]);
  return all.find((choice) => countBytes({ ...shape, ...choice }) <= memory) ?? null;
}
