/**
 * An NVIDIA card through ONNX Runtime's CUDA provider, which the npm package does not include. Each session has a stream of its own and ends
 * a run only when that stream is done, so what takes turns sees the numbers of the turn before.
 */
import { dirname, join } from "node:path";
import { LorikeetError } from "../../base/errors.js";
import { GraphBuilder } from "../../graph/builder.js";
import { serializeGraph } from "../../graph/serialize.js";
import { ort, type Pointer } from "../api.js";
import { libraryPath } from "../ort-library.js";
import { Session } from "../session.js";
import { Tensor } from "../tensor.js";
import { addressesOf, Card, type CardFacts } from "./card.js";
import { viewOf } from "./card-tensor.js";
import { cudaLibrary } from "./cuda-provider.js";
import type { Device, DeviceRows, DeviceTensor } from "./device.js";
import { ViewedRows } from "./viewed-rows.js";

const nvidia = 0x10de;
/** Zeros are sent in pieces of this size, and copied on the card from there. */
const zeroBytes = 4 << 20;

/** Opens the first card that the driver shows. Throws `device_unavailable`. */
export async function openCuda(card: CardFacts): Promise<Device> {
  const device = new Cuda(card);
  try {
    await device.turn(() => device.start());
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new LorikeetError("device_unavailable", `CUDA does not start on ${card.name}: ${reason}`, { cause });
  }
  return device;
}

let isRegistered = false;

/** Copies between host and card are the provider library's: it registers them with the environment, once for the process. */
function registerCopies(): void {
  if (isRegistered) return;
  const path = join(dirname(libraryPath()), cudaLibrary);
  ort().call("RegisterExecutionProviderLibrary", ort().env, "lorikeet.cuda", path);
  isRegistered = true;
}

class Cuda extends Card {
  readonly kind = "cuda";
  readonly capabilities = {
    hostMemory: false,
    offsetViews: true,
    softcap: false, // not every one of its attention kernels has it
    integerProducts: false,
    float16: true,
    halfTables: false,
    wideAttention: false,
    capture: null, // replaying steps of several shapes, or after a gather, loses the card
    longChunks: false,
  };
  readonly provider = {
    name: "CUDA",
    options: { device_id: "0", use_tf32: "0", arena_extend_strategy: "kSameAsRequested" },
    int64: {},
  } as const;
  #root: Session | null = null;
  #zeros: Tensor<"uint8"> | null = null;

  constructor(card: CardFacts) {
    super(card, { info: ort().make("CreateMemoryInfo_V2", "Cuda", 1, nvidia, 0, 0, 0n, 0), offsetViews: true });
  }

  protected async open(): Promise<Pointer> {
    registerCopies();
    const builder = new GraphBuilder("root");
    const x = builder.input("x", "float32", [1]);
    for (const value of builder.node("Neg", [x], [{ type: "float32", shape: [1], name: "y" }])) builder.output(value);
    this.#root = await Session.create(serializeGraph(builder.build()), { threads: 1, spinning: false, device: this });
    return this.#root.handle;
  }

  protected close(): void {
    this.#root?.[Symbol.dispose]();
    this.#root = null;
  }

  /** Fresh memory holds what was there before: it is filled with zeros, from the host at first and then from what is zero already. */
  protected prepare(tensor: DeviceTensor, bytes: number): void {
    this.#zeros ??= Tensor.zeros("uint8", [zeroBytes]);
    let done = Math.min(bytes, zeroBytes);
    const part = (first: number, count: number) => viewOf(tensor, this.memory, "uint8", [count], first);
    {
      using start = part(0, done);
      copyNow(this.#zeros.prefix(done), start);
    }
    while (done < bytes) {
      const count = Math.min(done, bytes - done);
      using from = part(0, count);
      using to = part(done, count);
      copyNow(from, to);
      done += count;
    }
  }

  rows(count: number): DeviceRows {
    return new ViewedRows(this, count);
  }
}

function copyNow(from: DeviceTensor, to: DeviceTensor): void {
  const [sources, targets] = addressesOf([[from, to]]);
  ort().call("CopyTensors", ort().env, sources, targets, null, 1);
}
