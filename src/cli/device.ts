/** The device of a command: how it is chosen, how much memory it offers, and how it is described to users. */

import { hasCode, type LorikeetError } from "../base/errors.js";
import type { Logger } from "../base/log.js";
import { isEncoderDecoder } from "../model/task/encoder-decoder.js";
import { type DeviceChoice, findDevice } from "../runtime/device/choose.js";
import type { CudaCard } from "../runtime/device/cuda-driver.js";
import type { GpuAdapter } from "../runtime/device/vulkan.js";
import { usableMemory } from "./machine.js";
import type { EngineSettings } from "./options/engine-options.js";
import { formatBytes } from "./options/units.js";
import { UsageError } from "./usage.js";

/** Throws `device_unavailable`. */
export function chooseFor({ device, allowSoftwareGpu }: Pick<EngineSettings, "device" | "allowSoftwareGpu">) {
  return findDevice({ device, allowSoftwareGpu });
}

/** Of a task model. Throws a UsageError for a card that cannot run an encoder-decoder, and what `chooseFor` throws. */
export async function chooseForTask(
  model: Parameters<typeof isEncoderDecoder>[0],
  settings: Pick<EngineSettings, "device" | "allowSoftwareGpu">,
): Promise<DeviceChoice> {
  if (!isEncoderDecoder(model) || settings.device === "cpu") return await chooseFor(settings);
  if (settings.device === "auto") return { kind: "cpu", why: "encoder-decoders run there" };
  throw new UsageError([`--device ${settings.device} does not run encoder-decoders; use cpu or auto.`]);
}

/**
 * Opens what runs on the device that was chosen. With `--device auto` the CPU takes over, with a warning, where a card does not work.
 * Throws what `open` throws, which has closed everything by then.
 */
export async function onCardOrCpu<T>(
  { settings, logger }: { readonly settings: Pick<EngineSettings, "device">; readonly logger: Logger },
  choice: DeviceChoice,
  open: (choice: DeviceChoice) => Promise<T>,
): Promise<T> {
  try {
    return await open(choice);
  } catch (error) {
    if (settings.device !== "auto" || choice.kind === "cpu" || !isCardFault(error)) throw error;
    const reason = error.message.replace(/ Use --device cpu\.$/, "");
    logger.warn({ code: error.code }, `${reason} The CPU runs the model instead.`);
    return await open({ kind: "cpu", why: "the card was not taken" });
  }
}

/** Faults that another device need not have. */
const isCardFault = (error: unknown): error is LorikeetError =>
  hasCode(error, "device_unavailable", "device_lost", "runtime_failed");

/** Bytes that weights, KV cache and adapters may take on the device. A card reserves the memory of adapters in use at the start; the CPU does not. */
export function memoryFor(choice: DeviceChoice, activeAdapterBytes: number): number {
  if (choice.kind === "cpu") return usableMemory();
  if (choice.kind === "cuda") return Math.max(0, choice.card.memoryBytes - activeAdapterBytes);
  const { type, memoryBytes } = choice.adapter;
  // Software drivers, integrated chips and unknown ones use the host's memory.
  const isDedicated = memoryBytes !== null && type !== "software" && type !== "integrated";
  const bytes = isDedicated ? memoryBytes : Math.min(usableMemory(), memoryBytes ?? Number.POSITIVE_INFINITY);
  return Math.max(0, bytes - activeAdapterBytes);
}

/** A device as banner, log and metrics describe it. */
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
  /** Types of keys and values in the KV cache and of activations; null where no model was chosen. */
  readonly kvCacheDtype: "fp32" | "fp16" | null;
  readonly activationDtype: "fp32" | "fp16" | null;
  /** Why it was chosen. */
  readonly why: string;
}

/** What depends on the model and on tests of the device. */
type Findings = Pick<DeviceFacts, "fp16" | "longestChunk" | "kvCacheDtype" | "activationDtype">;
/** What the driver says. */
type Described = Omit<DeviceFacts, "kind" | "why" | Exclude<keyof Findings, "fp16">>;

export function describeDevice(
  choice: DeviceChoice,
  { longestChunk = null, kvCacheDtype = null, activationDtype = null, ...found }: Partial<Findings> = {},
): DeviceFacts {
  const { kind, why } = choice;
  return { ...describeCard(choice), ...found, kind, why, longestChunk, kvCacheDtype, activationDtype };
}

function describeCard(choice: DeviceChoice): Described {
  if (choice.kind === "webgpu") return describeAdapter(choice.adapter);
  if (choice.kind === "cuda") return describeCudaCard(choice.card);
  return { name: null, driver: null, software: false, memoryBytes: null, fp16: null };
}

function describeCudaCard({ name, memoryBytes, computeCapability, cudaVersion }: CudaCard): Described {
  const driver = `CUDA ${cudaVersion}, compute capability ${computeCapability}`;
  return { name, driver, software: false, memoryBytes, fp16: true };
}

function describeAdapter({ name, driver, type, memoryBytes, fp16 }: GpuAdapter): Described {
  return { name, driver, software: type === "software", memoryBytes, fp16 };
}

/** `webgpu: NVIDIA L4, 22.5 GiB, fp16`, or `cpu`. */
export function formatDevice(facts: DeviceFacts): string {
  const { kind, name, software, memoryBytes, fp16, longestChunk, kvCacheDtype, activationDtype } = facts;
  if (name === null) return kind;
  const more = [
    ...(software ? ["a software driver"] : []),
    ...(memoryBytes === null ? [] : [formatBytes(memoryBytes)]),
    ...(fp16 === null ? [] : [fp16 ? "fp16" : "no fp16"]),
    ...(activationDtype === null ? [] : [`activations in ${activationDtype}`]),
    ...(kvCacheDtype === null ? [] : [`KV cache in ${kvCacheDtype}`]),
    ...(longestChunk === null ? [] : [`prompts in chunks of ${longestChunk}`]),
  ];
  return `${kind}: ${[name, ...more].join(", ")}`;
}
