/** Chooses the weights' types for `auto`, and explains the choice. */

import type { BaseDtype } from "../engine/start.js";
import type { EngineSettings } from "./options/engine-options.js";
import { formatCount } from "./options/units.js";

/** Up to this many parameters, a step in fp32 is fast enough. */
const mostFloatParameters = 200e6;

export interface Precision {
  readonly dtype: BaseDtype;
  readonly headDtype: "fp32" | "fp16" | "int8";
  readonly why: string;
  /** Approximate size of the weights. */
  readonly bytes: number;
}

const bytesPerWeight: Readonly<Record<BaseDtype, number>> = { fp32: 4, fp16: 2, int8: 1.1, int4: 0.6 };

export function choosePrecision(parameters: number, settings: Pick<EngineSettings, "dtype" | "headDtype">): Precision {
  const isSmall = parameters <= mostFloatParameters;
  const dtype = settings.dtype === "auto" ? (isSmall ? "fp32" : "int8") : settings.dtype;
  const headDtype =
    settings.headDtype === "auto" ? (dtype === "fp32" || dtype === "fp16" ? dtype : "int8") : settings.headDtype;
  const bound = `${formatCount(mostFloatParameters)} parameters`;
  const auto = isSmall ? `auto: fp32 up to ${bound}` : `auto: int8 above ${bound}`;
  const why = settings.dtype === "auto" ? auto : "as requested";
  return { dtype, headDtype, why, bytes: parameters * bytesPerWeight[dtype] };
}
