/** What a model wants of its pictures, as data: the steps from pixels to numbers. */

import { LorikeetError } from "../base/errors.js";
import type { Resample } from "./resize.js";
import type { Size } from "./types.js";

/** The size to resize to, from that of the picture. */
export type ResizeRule =
  | { readonly kind: "exact"; readonly width: number; readonly height: number }
  /** The shorter edge has this length, but the longer one at most `longest`; both are rounded down to multiples of `multiple`. */
  | { readonly kind: "shortest"; readonly edge: number; readonly longest: number | null; readonly multiple: number }
  /** As large as fits. */
  | { readonly kind: "within"; readonly width: number; readonly height: number };

export interface PreprocessPlan {
  readonly resize: { readonly rule: ResizeRule; readonly resample: Resample } | null;
  /** From the centre, with black around pictures that are smaller. */
  readonly crop: (Size & { readonly rounding: CropRounding }) | null;
  /** What becomes of a byte, in float32 after each step. */
  readonly values: readonly ValueStep[];
  /** Zeros on the right and below, up to this size. */
  readonly pad: Size | null;
  readonly isBgr: boolean;
}

/** What happens to half a pixel: transformers rounds down, torchvision to even, and towards the picture where it is smaller. */
export type CropRounding = "down" | "even";

export type ValueStep =
  | { readonly kind: "multiply"; readonly by: number }
  | { readonly kind: "divide"; readonly by: number }
  | { readonly kind: "subtract"; readonly value: number }
  /** (x - mean) / std of each channel. */
  | { readonly kind: "normalize"; readonly mean: readonly number[]; readonly std: readonly number[] };

/** The bound on edges that a model may ask for. */
const maxEdge = 16_384;

export function invalidPlan(file: string, clause: string): LorikeetError {
  return new LorikeetError("model_invalid", `${file} ${clause}.`, { param: file });
}

export function unsupportedPlan(file: string, found: string): LorikeetError {
  return new LorikeetError("model_unsupported", `${file} asks for ${found}, which is not supported.`, {
    param: file,
    found,
  });
}

/** A whole number of pixels. @throws LorikeetError `model_invalid` for anything else. */
export function readEdge(file: string, name: string, value: unknown): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= maxEdge) return value;
  throw invalidPlan(file, `must have a ${name} from 1 to ${maxEdge}, but has ${JSON.stringify(value)}`);
}

/** The size after resizing. Lengths are cut off, not rounded, as transformers does. */
export function resizedSize(rule: ResizeRule, { width, height }: Size): Size {
  switch (rule.kind) {
    case "exact":
      return { width: rule.width, height: rule.height };
    case "within": {
      const scale = Math.min(rule.width / width, rule.height / height);
      return atLeastOne(width * scale, height * scale);
    }
    case "shortest":
      return shortestSize(rule, { width, height });
  }
}

function shortestSize({ edge, longest, multiple }: ResizeRule & { kind: "shortest" }, { width, height }: Size): Size {
  const [short, long] = [Math.min(width, height), Math.max(width, height)];
  const isBounded = longest !== null && (long / short) * edge > longest;
  const exact = isBounded ? (longest * short) / long : edge;
  const shorter = isBounded ? roundHalfToEven(exact) : edge;
  const isThere = short === shorter;
  const longer = isThere ? long : Math.trunc((exact * long) / short);
  const cut = (length: number): number => Math.max(1, length - (length % multiple));
  return width <= height ? { width: cut(shorter), height: cut(longer) } : { width: cut(longer), height: cut(shorter) };
}

const atLeastOne = (width: number, height: number): Size => ({
  width: Math.max(1, Math.trunc(width)),
  height: Math.max(1, Math.trunc(height)),
});

/** As Python's `round`. */
export function roundHalfToEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

/** For people: "resize the shorter edge to 256 (bicubic), crop to 224x224, ...". */
export function describePlan({ resize, crop, values, pad, isBgr }: PreprocessPlan): string {
  const steps = [
    ...(resize === null ? [] : [`resize ${describeRule(resize.rule)} (${resize.resample})`]),
    ...(crop === null ? [] : [`crop to ${crop.width}x${crop.height}`]),
    ...(isBgr ? ["blue before red"] : []),
    ...values.map(describeStep),
    ...(pad === null ? [] : [`pad to ${pad.width}x${pad.height}`]),
  ];
  return steps.join(", ") || "none";
}

function describeRule(rule: ResizeRule): string {
  switch (rule.kind) {
    case "exact":
      return `to ${rule.width}x${rule.height}`;
    case "within":
      return `to fit ${rule.width}x${rule.height}`;
    case "shortest": {
      const bound = rule.longest === null ? "" : `, the longer one to at most ${rule.longest}`;
      return `the shorter edge to ${rule.edge}${bound}${rule.multiple > 1 ? `, in steps of ${rule.multiple}` : ""}`;
    }
  }
}

function describeStep(step: ValueStep): string {
  const short = (value: number): string => String(Number(value.toPrecision(6)));
  switch (step.kind) {
    case "multiply":
      return `times ${short(step.by)}`;
    case "divide":
      return `divided by ${short(step.by)}`;
    case "subtract":
      return `minus ${short(step.value)}`;
    case "normalize":
      return `mean ${step.mean.map(short).join(" ")}, deviation ${step.std.map(short).join(" ")}`;
  }
}
