/** ONNX Runtime's CUDA provider: whether its libraries are there and load. They are not part of the npm package. */

import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { LorikeetError } from "../../base/errors.js";
import { libraryPath, ort } from "../api.js";

const libraries = ["libonnxruntime_providers_shared.so", "libonnxruntime_providers_cuda.so"] as const;
const needed =
  "onnxruntime-node's script/install.js with --onnxruntime-node-install=cuda12 downloads it, and it needs CUDA 12 and cuDNN 9. " +
  "Lorikeet does not compute on CUDA yet: use --device webgpu";

/** Why the provider cannot be loaded, in whole sentences; null if it can. Loads it, so ask only when it is wanted. */
export function cudaFault(): string | null {
  if (process.platform !== "linux" || process.arch !== "x64") {
    return `ONNX Runtime's package has no CUDA for ${process.platform}/${process.arch}.`;
  }
  const folder = dirname(libraryPath());
  const missing = libraries.filter((name) => !existsSync(join(folder, name)));
  if (missing.length > 0) {
    return `ONNX Runtime's CUDA provider is not installed (${missing.join(" and ")} are missing): ${needed}.`;
  }
  try {
    load();
    return null;
  } catch (error) {
    if (!(error instanceof LorikeetError)) throw error;
    return `ONNX Runtime's CUDA provider does not load (${error.message}): ${needed}.`;
  }
}

/** Reading the options as text is the first call that loads the provider. */
function load(): void {
  const options = ort().make("CreateCUDAProviderOptions");
  try {
    const allocator = ort().make("GetAllocatorWithDefaultOptions");
    const text = ort().make("GetCUDAProviderOptionsAsString", options, allocator);
    ort().call("AllocatorFree", allocator, text);
  } finally {
    ort().call("ReleaseCUDAProviderOptions", options);
  }
}
