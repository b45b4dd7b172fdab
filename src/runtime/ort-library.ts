/**
 * Which ONNX Runtime is loaded: that of the onnxruntime-node package, or another build that LORIKEET_ONNXRUNTIME_LIBRARY names, such as
 * one with the CUDA provider beside it.
 */
import { existsSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { LorikeetError } from "../base/errors.js";

export const libraryVariable = "LORIKEET_ONNXRUNTIME_LIBRARY";

/** The oldest version that has the kernels and functions in use. */
const oldest = [1, 29] as const;

const fileNames: Partial<Record<NodeJS.Platform, readonly string[]>> = {
  linux: ["libonnxruntime.so.1", "libonnxruntime.so"],
  darwin: ["libonnxruntime.dylib"],
  win32: ["onnxruntime.dll"],
};

/** The file of ONNX Runtime's core library. Throws `runtime_failed` if there is none. */
export function libraryPath(environment: NodeJS.ProcessEnv = process.env): string {
  const named = environment[libraryVariable];
  if (named) return namedLibrary(named);
  const require = createRequire(import.meta.url);
  const root = dirname(require.resolve("onnxruntime-node/package.json"));
  const folder = join(root, "bin", "napi-v6", process.platform, process.arch);
  const path = libraryIn(folder);
  if (path !== null) return path;
  throw new LorikeetError(
    "runtime_failed",
    `onnxruntime-node has no library for ${process.platform} on ${process.arch} (looked into ${folder}).`,
  );
}

/** Why this version of ONNX Runtime cannot be used, as a sentence; null if it can. */
export function versionFault(version: string): string | null {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const isNew = major > oldest[0] || (major === oldest[0] && minor >= oldest[1]);
  return isNew ? null : `ONNX Runtime ${version} is too old: Lorikeet needs ${oldest.join(".")} or newer.`;
}

function namedLibrary(named: string): string {
  const isFolder = statSync(named, { throwIfNoEntry: false })?.isDirectory() ?? false;
  const path = isFolder ? libraryIn(named) : named;
  if (path !== null && existsSync(path)) return path;
  const what = isFolder ? `has no ${namesHere().join(" or ")}` : "does not exist";
  throw new LorikeetError("runtime_failed", `${libraryVariable}: ${named} ${what}.`);
}

const namesHere = (): readonly string[] => fileNames[process.platform] ?? ["libonnxruntime.so"];

const libraryIn = (folder: string): string | null =>
  namesHere()
    .map((name) => join(folder, name))
    .find((path) => existsSync(path)) ?? null;
