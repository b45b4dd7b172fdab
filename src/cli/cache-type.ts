/** Chooses the type of keys and values: float16 halves the cache where a card computes in it. */
import type { BaseDtype } from "../engine/start.js";
import type { CacheType } from "../model/serving/target.js";
import type { DeviceChoice } from "../runtime/device/choose.js";
import type { Device } from "../runtime/device/device.js";
import type { EngineSettings } from "./options/engine-options.js";
import { UsageError } from "./usage.js";

type Wanted = EngineSettings["kvCacheDtype"];

/**
 * By what the driver says, before a device is open. `auto` keeps fp32 models at PyTorch's numbers. Throws a UsageError where float16
 * was asked for and is not there.
 */
export function chooseCacheType(wanted: Wanted, choice: DeviceChoice, dtype: BaseDtype): CacheType {
  const lacks = choice.kind === "webgpu" ? halfFault(choice.adapter.name, choice.adapter.fp16 !== false) : onCpu;
  if (wanted === "auto") return lacks === null && dtype !== "fp32" ? "float16" : "float32";
  if (wanted === "fp16" && lacks !== null) throw new UsageError([lacks]);
  return wanted === "fp16" ? "float16" : "float32";
}

/** The same on the open device, whose kernels were tried. */
export function proveCacheType(
  wanted: Wanted,
  planned: CacheType,
  { name, capabilities }: Pick<Device, "name" | "capabilities">,
): CacheType {
  const lacks = halfFault(name, capabilities.float16);
  if (planned === "float32" || lacks === null) return planned;
  if (wanted === "fp16") throw new UsageError([lacks]);
  return "float32";
}

/** As options, banner and metrics name it. */
export const cacheDtypes = { float32: "fp32", float16: "fp16" } as const satisfies Readonly<Record<CacheType, Wanted>>;

const onCpu = "--kv-cache-dtype fp16 takes a graphics card: on the CPU it must be auto or fp32.";

function halfFault(name: string, has: boolean): string | null {
  return has ? null : `--kv-cache-dtype fp16: ${name} does not compute in fp16; use auto or fp32.`;
}
