/** Loads shared libraries through koffi, which takes its settings only before the first. */
import koffi from "koffi";

export type Library = ReturnType<typeof koffi.load>;

let configured = false;

/** koffi unloads a library once its handle is collected: keep it. */
export function loadLibrary(path: string): Library {
  if (!configured) {
    // A run of ONNX Runtime needs far more stack than koffi's default of 128 KiB.
    koffi.config({ sync_stack_size: 8 << 20, async_stack_size: 8 << 20 });
    configured = true;
  }
  return koffi.load(path);
}
