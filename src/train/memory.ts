/** Bytes that a run needs, counted before anything runs, and what would make it fit. Coarse: it refuses what could never fit. */
import type { DecoderConfig } from "../model/types.js";

export interface MemoryShape {
  readonly config: DecoderConfig;
  /** Of the frozen weights in the form that they are trained over, both ways. */
  readonly weightBytes: number;
  readonly trainable: number;
  /** Of the largest batch. */
  readonly rows: number;
  readonly length: number;
  readonly gradientCheckpointing: boolean;
}

/** Code, heap and the runtime. */
export const processBytes = 150 * 2 ** 20;
/** Logits that are held at once, at most. */
const chunkBytes = 64 * 2 ** 20;

/**
 * Frozen weights and their prepacked copy, what the way back reads of every layer, the logits of one chunk with their
 * gradient, and the optimizer's arrays.
 */
export function countBytes({ config, weightBytes, trainable, ...run }: MemoryShape): number {
  const { hiddenSize, intermediateSize, layerCount, headCount, kvHeadCount, headDim, vocabSize } = config;
  const { rows, length, gradientCheckpointing } = run;
  const tokens = rows * length;
  const attention = 2 * (headCount + kvHeadCount) * headDim;
  const perLayer =
    tokens * (6 * hiddenSize + 4 * intermediateSize + attention) + 2 * rows * headCount * length * length;
  const kept = gradientCheckpointing ? perLayer + layerCount * tokens * hiddenSize : layerCount * perLayer;
  const logits = Math.min(chunkBytes, 4 * tokens * vocabSize);
  return processBytes + 2 * weightBytes + 4 * (kept + 5 * trainable) + 3 * logits;
}

export interface Fitting {
  readonly rows: number;
  readonly length: number;
  readonly gradientCheckpointing: boolean;
}

const leastLength = 64;

/** The run nearest to this one that takes at most `memory`: fewer rows, layers computed again, and only then shorter rows. */
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
