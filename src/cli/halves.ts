/** Chooses what is computed and kept in 16 bits: fp16 takes a card that computes in it. */
import type { BaseDtype } from "../engine/start.js";
import type { CacheType, FloatType } from "../model/serving/target.js";
import type { DeviceChoice } from "../runtime/device/choose.js";
import type { Device } from "../runtime/device/device.js";
import type { EngineSettings } from "./options/engine-options.js";
import { UsageError } from "./usage.js";

export interface Halves {
  readonly cacheType: CacheType;
  readonly activationType: FloatType;
}

type HalfSettings = Pick<EngineSettings, "kvCacheDtype" | "activationDtype">;

/**
 * By what the driver says, before a device is open. `auto` keeps fp32 models at PyTorch's numbers. Throws a UsageError where fp16 was
 * asked for and is not there.
 */
export function chooseHalves(settings: HalfSettings, choice: DeviceChoice, dtype: BaseDtype): Halves {
  const name = choice.kind === "webgpu" ? choice.adapter.name : "the CPU";
  const has = choice.kind === "webgpu" && choice.adapter.fp16 !== false;
  return halvesOf(settings, dtype, { name, has });
}

/** The same on the open device, whose kernels were tried. */
export function proveHalves(
  settings: HalfSettings,
  dtype: BaseDtype,
  { name, capabilities }: Pick<Device, "name" | "capabilities">,
): Halves {
  return halvesOf(settings, dtype, { name, has: capabilities.float16 });
}

function halvesOf(
  { kvCacheDtype, activationDtype }: HalfSettings,
  dtype: BaseDtype,
  { name, has }: { readonly name: string; readonly has: boolean },
): Halves {
  const requests = { dtype, "activation-dtype": activationDtype, "kv-cache-dtype": kvCacheDtype };
  const refused = Object.entries(requests).find(([, value]) => value === "fp16" && !has);
  if (refused)
    throw new UsageError([`--${refused[0]} fp16 takes a graphics card that computes in fp16; ${name} does not.`]);
  return {
    cacheType: kvCacheDtype === "fp16" || (kvCacheDtype === "auto" && has && dtype !== "fp32") ? "float16" : "float32",
    activationType:
      activationDtype === "fp16" || (activationDtype === "auto" && dtype === "fp16") ? "float16" : "float32",
  };
}

/** As options, banner and metrics name them. */
export const floatDtypes = { float32: "fp32", float16: "fp16" } as const satisfies Readonly<Record<FloatType, string>>;
