/** Rotary position tables, computed in float64 as the model's authors define them. */
import { float32At, zip } from "../base/list.js";
import type { QueryGrowth, Rope } from "./blueprint.js";

/**
 * ONNX Runtime's GroupQueryAttention rotates 16 values at a time, in heads whose size is a multiple of 16. For other ropes, queries and
 * keys are rotated before the kernel.
 */
export const kernelRotates = ({ rotaryDim }: Rope, headDim: number): boolean =>
  headDim % 16 === 0 && rotaryDim % 16 === 0;

/** cos and sin, each [positions, rotaryDim / 2]. */
export interface RotaryTables {
  readonly cos: Float32Array;
  readonly sin: Float32Array;
}

/**
 * Whether the frequencies depend on the length of the text. Then a prompt's positions use those of the whole prompt, and a generated
 * token those of the text up to it, as transformers does with a cache.
 */
export const dependsOnLength = ({ scaling: { kind } }: Rope): boolean => kind === "dynamic" || kind === "longrope";

/** Inverse frequencies in a text of `length` tokens, one for each pair of a head's rotated dimensions. */
export function inverseFrequencies(rope: Rope, length: number): number[] {
  const { theta, rotaryDim, scaling } = rope;
  const plain = powers(theta, rotaryDim);
  switch (scaling.kind) {
    case "default":
      return plain;
    case "linear":
      return plain.map((frequency) => frequency / scaling.factor);
    case "llama3":
      return plain.map((frequency) => {
        const wavelength = (2 * Math.PI) / frequency;
        const { originalMaxPositions: original, lowFreqFactor: low, highFreqFactor: high } = scaling;
        if (wavelength < original / high) return frequency;
        if (wavelength > original / low) return frequency / scaling.factor;
        const smooth = (original / wavelength - low) / (high - low);
        return ((1 - smooth) * frequency) / scaling.factor + smooth * frequency;
      });
    case "dynamic": {
      const { factor, originalMaxPositions: original } = scaling;
      if (length <= original) return plain;
      const growth = (factor * length) / original - (factor - 1);
      return powers(theta * growth ** (rotaryDim / (rotaryDim - 2)), rotaryDim);
    }
    case "yarn": {
      const { factor, originalMaxPositions: original } = scaling;
      // The pair that makes `turns` rotations over the original length.
      const pair = (turns: number): number =>
        (rotaryDim * Math.log(original / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
      const [fast, slow] = [pair(scaling.betaFast), pair(scaling.betaSlow)];
      const low = Math.max(scaling.truncate ? Math.floor(fast) : fast, 0);
      const top = Math.min(scaling.truncate ? Math.ceil(slow) : slow, rotaryDim - 1);
      const high = low === top ? top + 0.001 : top;
      return plain.map((frequency, i) => {
        const ramp = Math.min(1, Math.max(0, (i - low) / (high - low)));
        return (frequency / factor) * ramp + frequency * (1 - ramp);
      });
    }
    case "longrope": {
      const factors = length > scaling.originalMaxPositions ? scaling.longFactors : scaling.shortFactors;
      return zip(plain, factors).map(([frequency, divisor]) => frequency / divisor);
    }
  }
}

const powers = (theta: number, rotaryDim: number): number[] =>
  Array.from({ length: rotaryDim / 2 }, (_, i) => theta ** ((-2 * i) / rotaryDim));

/** The factor of cos and sin. */
export const attentionFactor = ({ scaling }: Rope): number =>
  "attentionFactor" in scaling ? scaling.attentionFactor : 1;

/** The tables for one text of `length` tokens, read at once: cos and sin of position times frequency, times `factor`. */
export function rotaryTables(rope: Rope, positions: number, length: number, factor = 1): RotaryTables {
  const tables = emptyTables(rope, positions);
  const frequencies = frequenciesOf(rope, length);
  for (let position = 0; position < positions; position++)
    fill(tables, position, frequencies, factor * attentionFactor(rope));
  return tables;
}

/** The tables for tokens read one at a time: position p has the frequencies of a text of p + 1 tokens. */
export function steppedTables(rope: Rope, positions: number, factor = 1): RotaryTables {
  const tables = emptyTables(rope, positions);
  let regime = lengthRegime(rope, 1);
  let frequencies = frequenciesOf(rope, 1);
  for (let position = 0; position < positions; position++) {
    if (lengthRegime(rope, position + 1) !== regime) {
      regime = lengthRegime(rope, position + 1);
      frequencies = frequenciesOf(rope, position + 1);
    }
    fill(tables, position, frequencies, factor * attentionFactor(rope));
  }
  return tables;
}

/** Text lengths of the same regime have equal frequencies. */
export function lengthRegime({ scaling }: Rope, length: number): number {
  switch (scaling.kind) {
    case "dynamic":
      return Math.max(length, scaling.originalMaxPositions);
    case "longrope":
      return length > scaling.originalMaxPositions ? 1 : 0;
    default:
      return 0;
  }
}

/** The scale of the query at each position, [positions]: 1 + beta ln(1 + floor(position / original length)). */
export function growthTable({ beta, originalMaxPositions }: QueryGrowth, positions: number): Float32Array {
  return Float32Array.from(
    { length: positions },
    (_, position) => 1 + beta * Math.log(1 + Math.floor(position / originalMaxPositions)),
  );
}

// transformers computes frequencies and angles in float32: do the same, so that long positions agree.
const frequenciesOf = (rope: Rope, length: number): Float32Array => Float32Array.from(inverseFrequencies(rope, length));

function emptyTables({ rotaryDim }: Rope, positions: number): RotaryTables {
  const size = (positions * rotaryDim) / 2;
  return { cos: new Float32Array(size), sin: new Float32Array(size) };
}

function fill({ cos, sin }: RotaryTables, position: number, frequencies: Float32Array, factor: number): void {
  const half = frequencies.length;
  for (let i = 0; i < half; i++) {
    const angle = Math.fround(position * float32At(frequencies, i));
    cos[position * half + i] = factor * Math.cos(angle);
    sin[position * half + i] = factor * Math.sin(angle);
  }
}
