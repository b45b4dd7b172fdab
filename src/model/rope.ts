/** Rotary position tables, computed in float64 as the model's authors define them. */
import type { Rope } from "./blueprint.js";

/** Inverse frequencies, one for each pair of a head's rotated dimensions (RoFormer, arXiv:2104.09864; Llama 3.1's scaling). */
export function inverseFrequencies(rope: Rope): number[] {
  const { theta, rotaryDim, scaling } = rope;
  const plain = Array.from({ length: rotaryDim / 2 }, (_, i) => theta ** ((-2 * i) / rotaryDim));
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
  }
}

/** cos and sin of position times frequency, each times `factor`: each [positions, rotaryDim / 2]. */
export function rotaryTables(rope: Rope, positions: number, factor = 1): { cos: Float32Array; sin: Float32Array } {
  // transformers computes frequencies and angles in float32: do the same, so that long positions agree.
  const frequencies = Float32Array.from(inverseFrequencies(rope));
  const half = frequencies.length;
  const cos = new Float32Array(positions * half);
  const sin = new Float32Array(positions * half);
  for (let position = 0; position < positions; position++) {
    for (let i = 0; i < half; i++) {
      const angle = Math.fround(position * (frequencies[i] as number));
      cos[position * half + i] = factor * Math.cos(angle);
      sin[position * half + i] = factor * Math.sin(angle);
    }
  }
  return { cos, sin };
}
