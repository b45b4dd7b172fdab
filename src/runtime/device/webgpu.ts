/**
 * A graphics card through ONNX Runtime's WebGPU provider: any vendor's, over Vulkan, Metal or D3D12. All sessions of the provider
 * share one device and one command queue that takes one caller at a time, so everything here happens in turns.
 */
import { LorikeetError } from "../../base/errors.js";
import { ort, type Pointer } from "../api.js";
import { tensorBytes } from "../tensor.js";
import { Card, type CardFacts } from "./card.js";
import { viewOf } from "./card-tensor.js";
import type { Device, DeviceCapabilities, DeviceRows, DeviceTensor } from "./device.js";
import { computesInHalf } from "./half-probe.js";
import { MemoryMarker } from "./memory-marker.js";
import { StagedRows } from "./staged-rows.js";

/** Below this size an allocation is not proven by a marker: it comes from memory that the provider already holds. */
const provenBytes = 1 << 20;

interface WebgpuFacts extends CardFacts {
  /** Its driver offers float16; null if unknown. */
  readonly fp16?: boolean | null;
}

/** Opens the card. Throws `device_unavailable`. */
export async function openWebgpu(card: WebgpuFacts): Promise<Device> {
  const device = new Webgpu(card);
  try {
    await device.turn(() => device.start());
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new LorikeetError("device_unavailable", `WebGPU does not start on ${card.name}: ${reason}`, { cause });
  }
  return device;
}

class Webgpu extends Card {
  readonly kind = "webgpu";
  capabilities: DeviceCapabilities = {
    hostMemory: false,
    offsetViews: false, // a view at an offset ends the process
    softcap: false, // the kernel ignores it
    integerProducts: false,
    float16: false, // until it is proven
    halfTables: false,
    wideAttention: true,
    capture: {
      options: { enableGraphCapture: "1" },
    },
    longChunks: false,
  };
  /** The device has to outlive single sessions: a tensor that outlives the device ends the process. */
  readonly provider = {
    name: "WebGPU",
    options: { preserveDevice: "1", maxNumPendingDispatches: "64" },
    int64: { enableInt64: "1" },
  } as const;
  readonly #offersHalf: boolean;
  #marker: MemoryMarker | null = null;

  constructor(card: WebgpuFacts) {
    super(card, { info: ort().make("CreateMemoryInfo_V2", "WebGPU_Buf", 1, 0, 0, 0, 0n, 0), offsetViews: false });
    this.#offersHalf = card.fp16 !== false;
  }

  override async start(): Promise<void> {
    await super.start();
    // Without the feature a kernel fails when it is compiled.
    const float16 = this.#offersHalf && (await computesInHalf(this));
    this.capabilities = { ...this.capabilities, float16 };
  }

  protected async open(): Promise<Pointer> {
    const view = (tensor: DeviceTensor, shape: readonly number[]) => viewOf(tensor, this.memory, "float32", shape);
    this.#marker = await MemoryMarker.create(this, view);
    return this.#marker.session.handle;
  }

  protected close(): void {
    this.#marker?.[Symbol.dispose]();
    this.#marker = null;
  }

  /** Fresh tensors are zeros. */
  protected prepare(tensor: DeviceTensor, bytes: number): void {
    if (bytes >= provenBytes && this.#marker?.exists(tensor) === false) throw this.full(bytes);
  }

  /** Throws `device_memory` unless kernels can change all of the tensor. */
  #assertWritable(tensor: DeviceTensor): void {
    const bytes = tensorBytes(tensor.type, tensor.shape);
    if (bytes < provenBytes || this.#marker?.holds(tensor) !== false) return;
    const message = `${this.name} cannot change the end of a buffer of ${bytes} bytes: it is larger than one binding.`;
    throw new LorikeetError("device_memory", message, { found: bytes });
  }

  rows(count: number): DeviceRows {
    return new StagedRows(this, count, (tensor) => this.#assertWritable(tensor));
  }
}
