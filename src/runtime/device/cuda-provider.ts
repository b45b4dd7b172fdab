/** Whether CUDA can be used: ONNX Runtime's provider, which the npm package does not include, NVIDIA's driver and a card. */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { LorikeetError } from "../../base/errors.js";
import { ort } from "../api.js";
import { libraryPath, libraryVariable } from "../ort-library.js";
import type { CudaCard } from "./cuda-driver.js";
import { askProcess } from "./survey.js";

export interface CudaSurvey {
  /** Those that CUDA_VISIBLE_DEVICES shows; the first is used. */
  readonly cards: readonly CudaCard[];
  /** Why CUDA cannot be used, as half a sentence; null if it can. */
  readonly fault: string | null;
}

export const cudaLibrary = "libonnxruntime_providers_cuda.so";
const libraries = ["libonnxruntime_providers_shared.so", cudaLibrary] as const;

/** Whether somebody installed the provider. Loads nothing. */
export const hasCudaProvider = (environment: NodeJS.ProcessEnv = process.env): boolean =>
  isCudaPlatform() && missing(environment).length === 0;

const isCudaPlatform = (): boolean => process.platform === "linux" && process.arch === "x64";

/** The provider lies beside ONNX Runtime's core library. */
function missing(environment: NodeJS.ProcessEnv): string[] {
  const folder = dirname(libraryPath(environment));
  return libraries.filter((name) => !existsSync(join(folder, name)));
}

/** Looks for the provider, asks the driver for its cards in a process of its own, and loads the provider. Never throws. */
export async function surveyCuda(environment: NodeJS.ProcessEnv = process.env): Promise<CudaSurvey> {
  if (!isCudaPlatform()) return unusable(`ONNX Runtime's CUDA provider is used on linux/x64 alone, not on ${here}`);
  const absent = missing(environment);
  if (absent.length > 0) {
    return unusable(
      `ONNX Runtime's CUDA provider is not installed (${absent.join(" and ")} are not beside ONNX Runtime's library): ` +
        "onnxruntime-node's script/install.js with --onnxruntime-node-install=cuda12 downloads it, " +
        `or ${libraryVariable} names an ONNX Runtime that has it`,
    );
  }
  const survey = await askProcess<CudaSurvey>("cuda-main", environment).catch((error: Error) =>
    unusable(`NVIDIA's driver failed while it was asked for its cards (${error.message})`),
  );
  if (survey.cards.length === 0) return unusable(survey.fault ?? "NVIDIA's driver lists no card");
  const fault = loadFault();
  return fault === null ? survey : unusable(fault);
}

const here = `${process.platform}/${process.arch}`;
const unusable = (fault: string): CudaSurvey => ({ cards: [], fault });

/** Reading the options as text is the first call that loads the provider, and with it CUDA's libraries. */
function loadFault(): string | null {
  const options = ort().make("CreateCUDAProviderOptions");
  try {
    const allocator = ort().make("GetAllocatorWithDefaultOptions");
    const text = ort().make("GetCUDAProviderOptionsAsString", options, allocator);
    ort().call("AllocatorFree", allocator, text);
    return null;
  } catch (error) {
    if (!(error instanceof LorikeetError)) throw error;
    return `ONNX Runtime's CUDA provider does not load (${error.message}); it needs CUDA and cuDNN in the versions that it was built for`;
  } finally {
    ort().call("ReleaseCUDAProviderOptions", options);
  }
}
