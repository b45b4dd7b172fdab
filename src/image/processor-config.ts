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
  unsupportedPlan,
  type ValueStep,
} from "./plan.js";
import { type Resample, resampleFilters } from "./resize.js";
import type { Size } from "./types.js";

const file = "preprocessor_config.json";

/** What the processors of a family do beside the common steps. */
interface Family {
  /** What a config leaves out. */
  readonly defaults: Json;
  /** The meaning of a whole number as size. */
  readonly wholeSize: "square" | "shortest";
  /** Common steps that the family's processors never take, whatever a config says. */
  readonly without?: readonly ("center_crop" | "normalize" | "pad")[];
  /** Resizes the shorter edge only together with a bound on the longer one. */
  readonly boundsLonger?: boolean;
  /** How it resizes to more than it wants, or else to the size itself. */
  readonly beyond?: (config: Json, family: Family) => Sizes;
  /** YOLOS' multiples. */
  readonly multiple?: number;
  /** Normalizes again by the deviation alone, unless `include_top` is false. */
  readonly normalizesTwice?: boolean;
}

/** The resizing with the crop that belongs to it. */
interface Sizes {
  readonly rule: ResizeRule;
  readonly crop: PreprocessPlan["crop"];
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
const detr: Family = {
  ...shortest(800, bilinear, {
    ...imagenet,
    size: { shortest_edge: 800, longest_edge: 1333 },
    max_size: 1333,
    do_pad: true,
  }),
  without: ["center_crop"],
  boundsLonger: true,
};

/** By the name of the class without its ending. */
const families: Readonly<Record<string, Family>> = {
  ViT: whole(224, bilinear),
  DeiT: whole(256, bicubic, cropped(224)),
  Beit: { ...whole(224, bicubic, { crop_size: square(224) }), without: ["pad"] },
  Bit: clip,
  CLIP: clip,
  Siglip: { ...whole(224, bicubic), wholeSize: "shortest" },
  ConvNext: { ...shortest(384, bicubic, { crop_pct: 224 / 256 }), beyond: convNextSizes, without: ["pad"] },
  EfficientNet: { ...whole(346, bicubic, { crop_size: square(289) }), normalizesTwice: true, without: ["pad"] },
  Levit: { ...shortest(224, bicubic, { ...imagenet, ...cropped(224) }), beyond: levitSizes },
  MobileNetV1: mobileNet,
  MobileNetV2: { ...mobileNet, without: ["pad"] },
  MobileViT: {
    ...shortest(224, bicubic, { ...cropped(256), do_flip_channel_order: true }),
    without: ["normalize", "pad"],
  },
  PoolFormer: { ...shortest(224, bicubic, { ...imagenet, ...cropped(224), crop_pct: 0.9 }), beyond: poolFormerSizes },
  Pvt: whole(224, bicubic, imagenet),
  Segformer: { ...whole(512, bilinear, imagenet), without: ["center_crop", "pad"] },
  Detr: detr,
  ConditionalDetr: detr,
  DeformableDetr: detr,
  Yolos: { ...detr, multiple: 16 },
  RTDetr: {
    ...whole(640, bilinear, { ...imagenet, do_normalize: false }),
    wholeSize: "shortest",
    without: ["center_crop"],
    boundsLonger: true,
  },
};

/** @throws LorikeetError `model_invalid` for a broken config, `model_unsupported` for steps that are not implemented. */
export function readProcessorConfig(given: Json): PreprocessPlan {
  const family = familyOf(given);
  const stated = Object.entries(given).filter(([name, value]) => value !== null || name === "crop_pct");
  const older = { do_pad: given.pad_and_return_pixel_mask ?? family.defaults.do_pad };
  const without = Object.fromEntries((family.without ?? []).map((step) => [`do_${step}`, false]));
  const config: Json = { ...family.defaults, ...older, ...Object.fromEntries(stated), ...without };
  const resample = resampleOf(config.resample);
  const sizes = config.do_resize === false ? null : (family.beyond ?? plainSizes)(config, family);
  const crop = config.do_center_crop === true ? sizeOf("crop_size", config.crop_size) : null;
  if (sizes?.crop && crop) throw unsupportedPlan(file, "two crops, by crop_pct and by do_center_crop");
  return {
    resize: sizes && { rule: sizes.rule, resample },
    crop: sizes?.crop ?? (crop && { ...crop, rounding: "down" }),
    values: readValues(config, family),
    pad: config.do_pad === true && isObject(config.pad_size) ? sizeOf("pad_size", config.pad_size) : null,
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

function plainSizes({ size, max_size: longest }: Json, family: Family): Sizes {
  return { rule: ruleOf(size, longest, family), crop: null };
}

/** Below 384, ConvNeXT resizes to more than it wants and crops; from there on it resizes to a square. */
function convNextSizes({ size, crop_pct: share }: Json): Sizes {
  const edge = readEdge(file, "shortest_edge", isObject(size) ? size.shortest_edge : size);
  if (edge >= 384) return { rule: { kind: "exact", width: edge, height: edge }, crop: null };
  return { rule: shorterEdge(beyond(edge, share)), crop: { width: edge, height: edge, rounding: "down" } };
}

/** The crop that follows is a step of its own. */
function poolFormerSizes(config: Json, family: Family): Sizes {
  const plain = ruleOf(config.size, null, family);
  if (config.crop_pct === null) return { rule: plain, crop: null };
  if (plain.kind === "exact" && plain.width !== plain.height) {
    const [width, height] = [beyond(plain.width, config.crop_pct), beyond(plain.height, config.crop_pct)];
    return { rule: { kind: "exact", width, height }, crop: null };
  }
  if (plain.kind === "within") throw unsupportedPlan(file, "a crop_pct with max_height and max_width");
  return { rule: shorterEdge(beyond(plain.kind === "exact" ? plain.width : plain.edge, config.crop_pct)), crop: null };
}

function levitSizes(config: Json, family: Family): Sizes {
  const rule = ruleOf(config.size, null, family);
  if (rule.kind === "within") throw unsupportedPlan(file, "max_height and max_width");
  return { rule: rule.kind === "shortest" ? shorterEdge(Math.trunc((256 / 224) * rule.edge)) : rule, crop: null };
}

/** The edge of which a model sees a share. */
function beyond(edge: number, share: unknown): number {
  if (typeof share === "number" && share > 0 && share <= 1)
    return readEdge(file, "shortest_edge / crop_pct", Math.trunc(edge / share));
  throw invalidPlan(file, `must have a "crop_pct" above 0 and at most 1, but has ${JSON.stringify(share)}`);
}

const shorterEdge = (edge: number): ResizeRule => ({ kind: "shortest", edge, longest: null, multiple: 1 });

function ruleOf(size: unknown, maxSize: unknown, { wholeSize, boundsLonger, multiple = 1 }: Family): ResizeRule {
  const edge = (name: string, value: unknown): number => readEdge(file, name, value);
  if (!isObject(size) && wholeSize === "square") {
    const whole = edge("size", size);
    return { kind: "exact", width: whole, height: whole };
  }
  const named = isObject(size) ? size : { shortest_edge: size, longest_edge: boundsLonger ? maxSize : null };
  if (named.shortest_edge !== undefined) {
    const longest = named.longest_edge ?? null;
    const shortest = edge("shortest_edge", named.shortest_edge);
    if (longest === null && boundsLonger) throw invalidPlan(file, 'must have a "longest_edge" beside "shortest_edge"');
    return {
      kind: "shortest",
      edge: shortest,
      longest: longest === null ? null : edge("longest_edge", longest),
      multiple,
    };
  }
  if (named.max_height !== undefined)
    return { kind: "within", width: edge("max_width", named.max_width), height: edge("max_height", named.max_height) };
  return { kind: "exact", ...sizeOf("size", named) };
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
