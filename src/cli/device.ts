/** The device of a command: how it is chosen, what it holds, and how people read of it. */

import { type DeviceChoice, findDevice } from "../runtime/device/choose.js";
import { cudaFault } from "../runtime/device/cuda.js";
import type { GpuAdapter } from "../runtime/device/vulkan.js";
import { usableMemory } from "./machine.js";
import type { EngineSettings } from "./options/engine-options.js";
import { formatBytes } from "./options/units.js";

/** Throws `device_unavailable`. */
export function chooseFor({ device, allowSoftwareGpu }: Pick<EngineSettings, "device" | "allowSoftwareGpu">) {
  return findDevice({ device, allowSoftwareGpu }, { cudaFault });
}

/** Bytes that weights, KV cache and adapters may take on the device. Adapters in use lie there from the start, but not on the CPU. */
export function memoryFor(choice: DeviceChoice, activeAdapterBytes: number): number {
  if (choice.kind !== "webgpu") return usableMemory();
  const { type, memoryBytes } = choice.adapter;
  // Software drivers, chips without memory of their own and unknown ones use the host's.
  const isOwn = memoryBytes !== null && type !== "software" && type !== "integrated";
  const bytes = isOwn ? memoryBytes : Math.min(usableMemory(), memoryBytes ?? Number.POSITIVE_INFINITY);
  return Math.max(0, bytes - activeAdapterBytes);
}

/** What banner, log and metrics say of a device. */
export interface DeviceFacts {
  readonly kind: DeviceChoice["kind"];
  /** As its driver names it; null for the CPU. */
  readonly name: string | null;
  readonly driver: string | null;
  /** Its driver computes on the CPU. */
  readonly software: boolean;
  /** null: the host's, or unknown. */
  readonly memoryBytes: number | null;
  readonly fp16: boolean | null;
  /** Tokens of the longest chunk that attention computes correctly, as the self-test found; null before it ran. */
  readonly longestChunk: number | null;
  /** Why it was chosen. */
  readonly why: string;
}

export function describeDevice(choice: DeviceChoice, longestChunk: number | null = null): DeviceFacts {
  const none = { name: null, driver: null, software: false, memoryBytes: null, fp16: null };
  const { kind, why } = choice;
  return { ...(choice.kind === "webgpu" ? describeAdapter(choice.adapter) : none), kind, why, longestChunk };
}

function describeAdapter({
  name,
  driver,
  type,
  memoryBytes,
  fp16,
}: GpuAdapter): Omit<DeviceFacts, "kind" | "why" | "longestChunk"> {
  return { name, driver, software: type === "software", memoryBytes, fp16 };
}

/** `webgpu: NVIDIA L4, 22.5 GiB, fp16`, or `cpu`. */
export function formatDevice({ kind, name, software, memoryBytes, fp16, longestChunk }: DeviceFacts): string {
  if (name === null) return kind;
  const more = [
    ...(software ? ["a software driver"] : []),
    ...(memoryBytes === null ? [] : [formatBytes(memoryBytes)]),
    ...(fp16 === null ? [] : [fp16 ? "fp16" : "no fp16"]),
    ...(longestChunk === null ? [] : [`prompts in chunks of ${longestChunk}`]),
  ];
  return `${kind}: ${[name, ...more].join(", ")}`;
}
