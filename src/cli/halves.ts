/** Chooses what is computed and kept in 16 bits: fp16 takes a card that computes in it. */
import { longestRightChunk } from "../engine/attention-check.js";
import type { BaseDtype } from "../engine/start.js";
import type { CacheType, FloatType } from "../model/serving/target.js";
import type { DecoderConfig } from "../model/types.js";
import type { DeviceChoice } from "../runtime/device/choose.js";
import type { Device } from "../runtime/device/device.js";
import type { EngineSettings } from "./options/engine-options.js";
import { UsageError } from "./usage.js";

export interface Halves {
  readonly cacheType: CacheType;
  readonly activationType: FloatType;
}

type HalfSettings = Pick<EngineSettings, "kvCacheDtype" | "activationDtype">;

/** What a device computes in. */
interface Offer {
  readonly name: string;
  readonly has: boolean;
  /** Its attention computes in fp32 too. */
  readonly isWide: boolean;
}

/**
 * By what the driver says, before a device is open. `auto` keeps fp32 models at PyTorch's numbers, except where attention has fp16
 * alone. Throws a UsageError where what was asked for is not there.
 */
export function chooseHalves(settings: HalfSettings, choice: DeviceChoice, dtype: BaseDtype): Halves {
  return halvesOf(settings, dtype, offerOf(choice));
}

function offerOf(choice: DeviceChoice): Offer {
  switch (choice.kind) {
    case "cpu":
      return { name: "the CPU", has: false, isWide: true };
    case "webgpu":
      return { name: choice.adapter.name, has: choice.adapter.fp16 !== false, isWide: true };
    case "cuda":
      return { name: choice.card.name, has: true, isWide: false };
  }
}

/** The same on the open device, whose kernels were tried. */
export function proveHalves(
  settings: HalfSettings,
  dtype: BaseDtype,
  { name, capabilities }: Pick<Device, "name" | "capabilities">,
): Halves {
  return halvesOf(settings, dtype, { name, has: capabilities.float16, isWide: capabilities.wideAttention });
}

/** The same after a test of attention in fp16 over this model's heads. Takes turns of the device. */
export async function settleHalves(
  settings: HalfSettings,
  dtype: BaseDtype,
  device: Device,
  config: DecoderConfig,
): Promise<Halves> {
  const halves = proveHalves(settings, dtype, device);
  if (device.capabilities.longChunks) return halves;
  return await trustAttention(halves, settings, () => longestRightChunk(device, config, triedTokens, "float16"));
}

/** Keys and values in fp32 where no chunk is right in fp16, unless fp16 was asked for: then the engine refuses it. */
export async function trustAttention(
  halves: Halves,
  { kvCacheDtype }: HalfSettings,
  longestChunk: () => Promise<number>,
): Promise<Halves> {
  if (halves.cacheType === "float32" || kvCacheDtype === "fp16" || (await longestChunk()) > 0) return halves;
  return { ...halves, cacheType: "float32" };
}

/** A prompt's shortest chunk: a card whose kernel is wrong for these is wrong for all. */
const triedTokens = 2;

function halvesOf(
  { kvCacheDtype, activationDtype }: HalfSettings,
  dtype: BaseDtype,
  { name, has, isWide }: Offer,
): Halves {
  const requests = { dtype, "activation-dtype": activationDtype, "kv-cache-dtype": kvCacheDtype };
  const refused = Object.entries(requests).find(([, value]) => value === "fp16" && !has);
  if (refused)
    throw new UsageError([`--${refused[0]} fp16 takes a graphics card that computes in fp16; ${name} does not.`]);
  if (!isWide && kvCacheDtype === "fp32") throw new UsageError([narrowAttention]);
  const halvesCache = kvCacheDtype === "fp16" || (kvCacheDtype === "auto" && has && dtype !== "fp32");
  return {
    cacheType: halvesCache || !isWide ? "float16" : "float32",
    activationType:
      activationDtype === "fp16" || (activationDtype === "auto" && dtype === "fp16") ? "float16" : "float32",
  };
}

const narrowAttention =
  "--kv-cache-dtype fp32: attention on CUDA takes keys and values in 16 bits alone; use auto or fp16.";

/** As options, banner and metrics name them. */
export const floatDtypes = { float32: "fp32", float16: "fp16" } as const satisfies Readonly<Record<FloatType, string>>;
