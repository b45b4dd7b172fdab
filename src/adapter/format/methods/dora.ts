/**
 * Weight-decomposed LoRA (DoRA, arXiv:2402.09353), with the scale of LoRA or rsLoRA: besides the two matrices each module has a magnitude
 * m per output, W' = m / |W + s·B A| · (W + s·B A).
 */

import { lora, readLora } from "./lora.js";
import { type AdapterMethod, type ExtraTensor, matrix, unknown } from "./method.js";
import { rsLora } from "./rslora.js";

const magnitudes: ExtraTensor = {
  role: "M",
  words: { the: "the magnitude", a: "a magnitude" },
  axes: 1,
  isFoldedIntoA: false,
  check({ path, outFeatures }, shape, faults) {
    if (!shape) faults.invalid(`module ${path} has no lora_magnitude_vector, though use_dora is set`);
    else if (shape[0] !== outFeatures) {
      faults.invalid(
        `module ${path} has ${shape[0]} magnitudes; one for each of its ${outFeatures} outputs is allowed`,
      );
    }
  },
  addTo: (module, values) => ({ ...module, magnitude: Float32Array.from(values) }),
};

export const dora = withMagnitudes(lora, "DoRA (a magnitude for each output)");
export const rsDora = withMagnitudes(rsLora, "DoRA (a magnitude for each output), rank-stabilized (rsLoRA)");

function withMagnitudes(undecomposed: AdapterMethod, description: string): AdapterMethod {
  const method: AdapterMethod = {
    ...undecomposed,
    name: "DoRA",
    flags: { ...undecomposed.flags, use_dora: true },
    extraTensor: magnitudes,
    kinds: new Set(["linear", "convolution"]),
    hasGains: true,
    describe: () => description,
    readConfig: (field) => readLora(field, method),
    meaningOf(marker, rest) {
      if (marker !== "m" && marker !== "lora_magnitude_vector") return undecomposed.meaningOf(marker, rest);
      // A bare parameter or a module's: followed by nothing, the adapter's name, `weight`, or both.
      return rest.length > 2 || (rest.length === 2 && rest[1] !== "weight") ? unknown : matrix("M");
    },
  };
  return method;
}
