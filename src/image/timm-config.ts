/** Reads `pretrained_cfg` of a timm model's config.json: the transforms of its evaluation. */

import { isObject, type Json } from "../base/json.js";
import { invalidPlan, type PreprocessPlan, readEdge, unsupportedPlan } from "./plan.js";
import { readNormalize } from "./processor-config.js";
import { type Resample, resampleFilters } from "./resize.js";

const file = "config.json";
const imagenetMean = [0.485, 0.456, 0.406];
const imagenetStd = [0.229, 0.224, 0.225];

/** As timm reads it: what is missing or empty has its default. Returns null if the config is not timm's. @throws LorikeetError `model_invalid` or `model_unsupported`. */
export function readTimmConfig({ pretrained_cfg: settings }: Json): PreprocessPlan | null {
  if (!isObject(settings)) return null;
  const [channels, height, width] = Array.isArray(settings.input_size) ? settings.input_size : [3, 224, 224];
  if (channels !== 3) throw unsupportedPlan(file, `pictures of ${JSON.stringify(channels)} channels`);
  const size = { width: readEdge(file, "input width", width), height: readEdge(file, "input height", height) };
  return {
    resize: { rule: ruleOf(settings, size), resample: resampleOf(settings.interpolation) },
    crop: { ...size, rounding: "even" },
    values: [
      { kind: "divide", by: 255 },
      readNormalize(file, settings.mean ?? imagenetMean, settings.std ?? imagenetStd),
    ],
    pad: null,
    isBgr: false,
  };
}

function ruleOf(settings: Json, { width, height }: { width: number; height: number }) {
  const share = settings.crop_pct || 0.875;
  const mode = settings.crop_mode || "center";
  if (typeof share !== "number" || !(share > 0))
    throw invalidPlan(file, `must have a "crop_pct" above 0, but has ${JSON.stringify(share)}`);
  const scaled = (edge: number): number => readEdge(file, "input size / crop_pct", Math.floor(edge / share));
  if (mode === "squash") return { kind: "exact", width: scaled(width), height: scaled(height) } as const;
  if (mode !== "center") throw unsupportedPlan(file, `the crop mode ${JSON.stringify(mode)}`);
  if (width !== height) throw unsupportedPlan(file, `an input of ${width}x${height}, which is not a square`);
  return { kind: "shortest", edge: scaled(width), longest: null, multiple: 1 } as const;
}

function resampleOf(name: unknown): Resample {
  const found = resampleFilters.find((filter) => filter === (name || "bicubic"));
  if (found) return found;
  throw unsupportedPlan(file, `the interpolation ${JSON.stringify(name)}`);
}
