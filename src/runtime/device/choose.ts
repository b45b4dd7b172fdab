/** Chooses the device that `--device` asks for: a rule over what was found, so that tests can fake every machine. */

import { LorikeetError } from "../../base/errors.js";
import type { CudaCard } from "./cuda-driver.js";
import { type CudaSurvey, hasCudaProvider, surveyCuda } from "./cuda-provider.js";
import type { GpuSurvey } from "./survey.js";
import { surveyCards, surveyGpus } from "./survey.js";
import type { GpuAdapter, GpuType } from "./vulkan.js";

export const deviceRequests = ["auto", "cpu", "webgpu", "cuda"] as const;

export interface DeviceRequest {
  readonly device: (typeof deviceRequests)[number];
  /** WebGPU may run on a driver that computes on the CPU. */
  readonly allowSoftwareGpu: boolean;
}

/** What matters of the machine and of ONNX Runtime's package. */
export interface Surroundings {
  readonly gpus: GpuSurvey;
  /** Platform and architecture, as Node.js names them. */
  readonly platform: string;
  /** null: nobody asks, or the provider is not installed and `auto` was asked for. */
  readonly cuda: CudaSurvey | null;
}

export type DeviceChoice =
  | { readonly kind: "cpu"; readonly why: string }
  | { readonly kind: "webgpu"; readonly why: string; readonly adapter: GpuAdapter }
  | { readonly kind: "cuda"; readonly why: string; readonly card: CudaCard };

/** Platforms whose onnxruntime-node has the WebGPU provider. */
const bundled: readonly string[] = ["linux/x64", "darwin/arm64", "win32/x64", "win32/arm64"];

/** Dawn takes the first device in this order. It knows no virtual cards: they come last. */
const order: readonly GpuType[] = ["discrete", "integrated", "software", "virtual", "other"];

/** Throws `device_unavailable`: what was asked for, what was found, and what to do. */
export function chooseDevice(request: DeviceRequest, found: Surroundings): DeviceChoice {
  switch (request.device) {
    case "cpu":
      return { kind: "cpu", why: "as requested" };
    case "cuda":
      return chooseCuda(found);
    case "webgpu":
      return chooseAdapter(request, found);
    case "auto":
      return chooseBest(found);
  }
}

/** Looks at no driver unless the request depends on one. */
export async function findDevice(
  { device, allowSoftwareGpu }: DeviceRequest,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<DeviceChoice> {
  const platform = `${process.platform}/${process.arch}`;
  const asksCuda = device === "cuda" || (device === "auto" && hasCudaProvider(environment));
  const cuda = asksCuda ? await surveyCuda(environment) : null;
  const asksWebgpu = device === "webgpu" || (device === "auto" && !cuda?.cards.length);
  const survey = device === "webgpu" && allowSoftwareGpu ? surveyGpus : surveyCards;
  const gpus = asksWebgpu && bundled.includes(platform) ? await survey(environment) : { adapters: [], fault: null };
  return chooseDevice({ device, allowSoftwareGpu }, { gpus, platform, cuda });
}

function chooseCuda({ cuda }: Surroundings): DeviceChoice {
  const [card] = cuda?.cards ?? [];
  if (!card) throw unavailable(`--device cuda cannot run here: ${cuda?.fault ?? "no card was found"}. ${cudaRemedy}`);
  return { kind: "cuda", why: "as requested", card };
}

/** Who installed CUDA's provider wants it used. */
function chooseBest(found: Surroundings): DeviceChoice {
  const [cudaCard] = found.cuda?.cards ?? [];
  if (cudaCard) return { kind: "cuda", why: "its provider is installed", card: cudaCard };
  if (!bundled.includes(found.platform)) {
    return { kind: "cpu", why: `ONNX Runtime has no WebGPU for ${found.platform}` };
  }
  const adapter = firstOf(found.gpus.adapters);
  const reason = faultOf(adapter, false, found.gpus);
  if (adapter === undefined || reason !== null) return { kind: "cpu", why: reason ?? "no graphics card" };
  return { kind: "webgpu", why: whyOf(adapter, found.gpus), adapter };
}

function chooseAdapter({ allowSoftwareGpu }: DeviceRequest, found: Surroundings): DeviceChoice {
  if (!bundled.includes(found.platform)) {
    throw unavailable(`ONNX Runtime's package has no WebGPU for ${found.platform}: use --device cpu.`);
  }
  const adapter = firstOf(found.gpus.adapters);
  const reason = faultOf(adapter, allowSoftwareGpu, found.gpus);
  if (adapter === undefined || reason !== null) {
    throw unavailable(`--device webgpu cannot run here: ${reason}. ${remedyFor(adapter, allowSoftwareGpu)}`);
  }
  return { kind: "webgpu", why: whyOf(adapter, found.gpus), adapter };
}

/** The one that Dawn takes. It skips devices that lack something, and keeps the drivers' order otherwise. */
function firstOf(adapters: readonly GpuAdapter[]): GpuAdapter | undefined {
  const rank = ({ type, lacks }: GpuAdapter): number => order.indexOf(type) + (lacks.length > 0 ? order.length : 0);
  return adapters.toSorted((a, b) => rank(a) - rank(b))[0];
}

/** Why this adapter is not used, as half a sentence. */
function faultOf(adapter: GpuAdapter | undefined, allowSoftware: boolean, gpus: GpuSurvey): string | null {
  if (adapter === undefined) return `no graphics card was found (${gpus.fault ?? "the list is empty"})`;
  if (adapter.type !== "software" || allowSoftware) {
    return adapter.lacks.length > 0 ? `${adapter.name} lacks what WebGPU needs (${adapter.lacks.join(", ")})` : null;
  }
  const isOnly = gpus.adapters.every(({ type }) => type === "software");
  if (isOnly) return `no graphics card was found, only the software driver ${adapter.name}`;
  return `WebGPU would take the software driver ${adapter.name} before ${namesOf(gpus.adapters.filter(({ type }) => type !== "software"))}`;
}

function remedyFor(adapter: GpuAdapter | undefined, allowSoftware: boolean): string {
  if (adapter === undefined) return "Install the card's Vulkan driver, or use --device cpu.";
  if (adapter.type !== "software" || allowSoftware) return "Update its driver, or use --device cpu.";
  if (adapter.lacks.length > 0) return `It lacks what WebGPU needs (${adapter.lacks.join(", ")}): use --device cpu.`;
  return "It is slower than --device cpu; --allow-software-gpu runs it all the same.";
}

function whyOf(adapter: GpuAdapter, { adapters }: GpuSurvey): string {
  const others = adapters.filter((other) => other !== adapter);
  if (others.length === 0) return adapter.type === "software" ? "the only driver" : "the only card";
  return `chosen before ${namesOf(others)}`;
}

const cudaRemedy = "--device webgpu needs the card's driver alone.";
const namesOf = (adapters: readonly GpuAdapter[]): string => adapters.map(({ name }) => name).join(", ");
const unavailable = (message: string): LorikeetError => new LorikeetError("device_unavailable", message);
