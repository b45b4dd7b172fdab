/**
 * Reads preprocessor_config.json, in the spellings of transformers from 4 on: `feature_extractor_type` and whole numbers as sizes, or
 * `image_processor_type` and sizes by name.
 */

import { isObject, type Json } from "../base/json.js";
import {
  invalidPlan,
  type PreprocessPlan,
  type ResizeRule,
  readEdge,
  type Size,
  unsupportedPlan,
  type ValueStep,
} from "./plan.js";
import { type Resample, resampleFilters } from "./resize.js";

const file = "preprocessor_config.json";

/** What the processors of a family do beside the common steps. */
interface Family {
  /** What a config leaves out. */
  readonly defaults: Json;
  /** The meaning of a whole number as size. */
  readonly wholeSize: "square" | "shortest";
  /** ConvNeXT's crop by a share of the edge. */
  readonly cropsShare?: boolean;
  /** YOLOS' multiples. */
  readonly multiple?: number;
  /** Normalizes again by the deviation alone, unless `include_top` is false. */
  readonly normalizesTwice?: boolean;
}

const square = (edge: number): Json => ({ height: edge, width: edge });
const halves: Json = { image_mean: [0.5, 0.5, 0.5], image_std: [0.5, 0.5, 0.5] };
const imagenet: Json = { image_mean: [0.485, 0.456, 0.406], image_std: [0.229, 0.224, 0.225] };
const openai: Json = {
  image_mean: [0.48145466, 0.4578275, 0.40821073],
  image_std: [0.26862954, 0.26130258, 0.27577711],
};
const [bilinear, bicubic] = [2, 3];

const whole = (edge: number, resample: number, more: Json = {}): Family => ({
  wholeSize: "square",
  defaults: { ...halves, size: square(edge), resample, ...more },
});
const shortest = (edge: number, resample: number, more: Json = {}): Family => ({
  wholeSize: "shortest",
  defaults: { ...halves, size: { shortest_edge: edge }, resample, ...more },
});
const cropped = (edge: number): Json => ({ do_center_crop: true, crop_size: square(edge) });

const clip = shortest(224, bicubic, { ...openai, ...cropped(224) });
const mobileNet = shortest(256, bilinear, cropped(224));
const detr = shortest(800, bilinear, { ...imagenet, size: { shortest_edge: 800, longest_edge: 1333 } });

/** By the name of the class without its ending. */
const families: Readonly<Record<string, Family>> = {
  ViT: whole(224, bilinear),
  DeiT: whole(256, bicubic, cropped(224)),
  Beit: whole(224, bicubic, { crop_size: square(224) }),
  Bit: clip,
  CLIP: clip,
  Siglip: whole(224, bicubic),
  ConvNext: { ...shortest(384, bicubic), cropsShare: true },
  EfficientNet: { ...whole(346, bicubic, { crop_size: square(289) }), normalizesTwice: true },
  MobileNetV1: mobileNet,
  MobileNetV2: mobileNet,
  MobileViT: shortest(224, bicubic, { ...cropped(256), do_normalize: false, do_flip_channel_order: true }),
  Detr: detr,
  ConditionalDetr: detr,
  DeformableDetr: detr,
  Yolos: { ...detr, multiple: 16 },
  RTDetr: whole(640, bilinear, { ...imagenet, do_normalize: false }),
};

/** @throws LorikeetError `model_invalid` for a broken config, `model_unsupported` for steps that are not implemented. */
export function readProcessorConfig(given: Json): PreprocessPlan {
  const family = familyOf(given);
  const stated = Object.entries(given).filter(([, value]) => value !== null);
  const config = { ...family.defaults, ...Object.fromEntries(stated) };
  const resample = resampleOf(config.resample);
  const { rule, crop } = readSizes(config, family);
  return {
    resize: config.do_resize === false ? null : { rule, resample },
    crop,
    values: readValues(config, family),
    pad: isObject(config.pad_size) ? sizeOf("pad_size", config.pad_size) : null,
    isBgr: config.do_flip_channel_order === true,
  };
}

function familyOf({ image_processor_type: now, feature_extractor_type: before }: Json): Family {
  const name = now ?? before ?? "ViTImageProcessor";
  const short = String(name).replace(/(ImageProcessor|FeatureExtractor)(Fast|Pil)?$/, "");
  const family = families[short];
  if (family && Object.hasOwn(families, short)) return family;
  throw unsupportedPlan(file, `the preparation of ${JSON.stringify(name)}`);
}

/** Pillow's numbers, or names. */
function resampleOf(value: unknown): Resample {
  const found = typeof value === "number" ? resampleFilters[value] : resampleFilters.find((name) => name === value);
  if (found) return found;
  throw invalidPlan(file, `must have a "resample" from 0 to 5, but has ${JSON.stringify(value)}`);
}

function readSizes(config: Json, family: Family): { rule: ResizeRule; crop: PreprocessPlan["crop"] } {
  if (family.cropsShare) return readShare(config.size, config.crop_pct);
  const crop = config.do_center_crop === true ? sizeOf("crop_size", config.crop_size) : null;
  return { rule: ruleOf(config.size, config.max_size, family), crop: crop && { ...crop, rounding: "down" } };
}

/** Below 384, ConvNeXT resizes to more than it wants and crops; from there on it resizes to a square. */
function readShare(size: unknown, share: unknown): ReturnType<typeof readSizes> {
  const edge = readEdge(file, "shortest_edge", isObject(size) ? size.shortest_edge : size);
  if (edge >= 384) return { rule: { kind: "exact", width: edge, height: edge }, crop: null };
  const part = share ?? 224 / 256;
  if (typeof part !== "number" || !(part > 0 && part <= 1))
    throw invalidPlan(file, `must have a "crop_pct" above 0 and at most 1, but has ${JSON.stringify(share)}`);
  const larger = readEdge(file, "shortest_edge / crop_pct", Math.trunc(edge / part));
  return {
    rule: { kind: "shortest", edge: larger, longest: null, multiple: 1 },
    crop: { width: edge, height: edge, rounding: "down" },
  };
}

function ruleOf(size: unknown, maxSize: unknown, { wholeSize, multiple = 1 }: Family): ResizeRule {
  const edge = (name: string, value: unknown): number => readEdge(file, name, value);
  if (!isObject(size)) {
    const whole = edge("size", size);
    if (wholeSize === "square") return { kind: "exact", width: whole, height: whole };
    const longest = maxSize === undefined ? null : edge("max_size", maxSize);
    return { kind: "shortest", edge: whole, longest, multiple };
  }
  if (size.shortest_edge !== undefined) {
    const longest = size.longest_edge ?? maxSize;
    const bound = longest === undefined || longest === null ? null : edge("longest_edge", longest);
    return { kind: "shortest", edge: edge("shortest_edge", size.shortest_edge), longest: bound, multiple };
  }
  if (size.longest_edge !== undefined) return { kind: "longest", edge: edge("longest_edge", size.longest_edge) };
  if (size.max_height !== undefined)
    return { kind: "within", width: edge("max_width", size.max_width), height: edge("max_height", size.max_height) };
  return { kind: "exact", ...sizeOf("size", size) };
}

function sizeOf(name: string, value: unknown): Size {
  if (!isObject(value)) {
    const edge = readEdge(file, name, value);
    return { width: edge, height: edge };
  }
  return {
    width: readEdge(file, `${name}.width`, value.width),
    height: readEdge(file, `${name}.height`, value.height),
  };
}

function readValues(config: Json, { normalizesTwice }: Family): ValueStep[] {
  const steps: ValueStep[] = [];
  if (config.do_rescale !== false) {
    const { rescale_factor: factor = 1 / 255 } = config;
    if (typeof factor !== "number" || !Number.isFinite(factor))
      throw invalidPlan(file, `must have a number as "rescale_factor", but has ${JSON.stringify(factor)}`);
    steps.push({ kind: "multiply", by: factor });
    if (config.rescale_offset === true || config.offset === true) steps.push({ kind: "subtract", value: 1 });
  }
  if (config.do_normalize !== false) steps.push(readNormalize(file, config.image_mean, config.image_std));
  if (normalizesTwice && config.include_top !== false) steps.push(readNormalize(file, 0, config.image_std));
  return steps;
}

/** One number counts for all channels. @throws LorikeetError `model_invalid` unless there are one or three numbers. */
export function readNormalize(from: string, mean: unknown, std: unknown): ValueStep {
  const read = (name: string, value: unknown): number[] => {
    const numbers = typeof value === "number" ? [value, value, value] : Array.isArray(value) ? value : [];
    const known = numbers.filter((each): each is number => typeof each === "number" && Number.isFinite(each));
    if (known.length === 3 && numbers.length === 3 && (name === "mean" || !known.includes(0))) return known;
    throw invalidPlan(from, `must have three numbers as ${name} of the channels, but has ${JSON.stringify(value)}`);
  };
  return { kind: "normalize", mean: read("mean", mean), std: read("deviation", std) };
}
