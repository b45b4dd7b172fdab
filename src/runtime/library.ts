/** Loads shared libraries through koffi, which accepts settings only before the first one. */
import koffi from "koffi";

export type Library = ReturnType<typeof koffi.load>;

let configured = false;

/** Loads a library. Keep the handle: koffi unloads a library when it is collected. */
export function loadLibrary(path: string): Library {
  if (!configured) {
    // A run of ONNX Runtime needs far more stack than koffi's default of 128 KiB.
    koffi.config({ sync_stack_size: 8 << 20, async_stack_size: 8 << 20 });
    configured = true;
  }
  return koffi.load(path);
}

/** The C library of this system; null if none of the known names loads. */
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
