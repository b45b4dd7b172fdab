/** A file system that fails on request: what `node:fs/promises` answers is decided by the test, for as long as a task runs. */
import { existsSync } from "node:fs";
import fs from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";

type Call = "readdir" | "open" | "mkdir" | "writeFile" | "rename" | "symlink" | "rm" | "stat" | "lstat";

/** For each function: the code of the fault that a call of it meets, or null for none. */
export type Faults = { readonly [K in Call]?: (path: string, ...more: readonly unknown[]) => string | null };

/** Runs a task under these faults. Tasks do not overlap. */
export async function withFaults<T>(faults: Faults, task: () => Promise<T>): Promise<T> {
  const originals = Object.keys(faults).map((name) => [name, fs[name as Call]] as const);
  for (const [name, original] of originals) Object.assign(fs, { [name]: faulty(name as Call, original, faults) });
  syncBuiltinESMExports();
  try {
    return await task();
  } finally {
    Object.assign(fs, Object.fromEntries(originals));
    syncBuiltinESMExports();
  }
}

function faulty(name: Call, original: (...args: never[]) => unknown, faults: Faults) {
  return (...args: never[]): unknown => {
    const [path, ...more] = args;
    const code = faults[name]?.(String(path), ...more) ?? null;
    if (code === null) return original(...args);
    return Promise.reject(Object.assign(new Error(`${code}: injected into ${name}`), { code, syscall: name }));
  };
}

/** A disk without a free block: existing files can be read, renamed and removed, and empty files and links can be created. */
export const fullDisk: Faults = {
  mkdir: (path) => (existsSync(path) ? null : "ENOSPC"),
  writeFile: (_, data) => (String(data) === "" ? null : "ENOSPC"),
};
