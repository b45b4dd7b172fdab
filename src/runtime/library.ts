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

/** The C library of this system; null where none is found under the names that are known. */
export function loadSystemLibrary(): Library | null {
  const names: Partial<Record<NodeJS.Platform, readonly string[]>> = {
    linux: ["libc.so.6", `libc.musl-${process.arch === "x64" ? "x86_64" : "aarch64"}.so.1`],
    darwin: ["/usr/lib/libSystem.B.dylib"],
  };
  for (const name of names[process.platform] ?? []) {
    try {
      return loadLibrary(name);
    } catch {
      // Another C library, perhaps.
    }
  }
  return null;
}
