/** Copies the other files of a checkpoint directory to one with new weights, and converts values to stored types. */
import { copyFile, cp, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { assert } from "../../base/errors.js";
import { isFolder } from "../../base/files.js";
import { moduleFolders } from "../../model/task/sentence-modules.js";
import { float32ToBfloat16, float32ToFloat16 } from "../../tensor/half.js";

/** The dtypes in which weights are stored. */
export type FloatDtype = "F32" | "F16" | "BF16";

export interface CopyOptions {
  /** `fp32`: the config says that the weights are float32. */
  readonly dtype: "same" | "fp32";
  /** Names that are not copied. */
  readonly without?: readonly string[];
}

/** Weights, which are written separately, and pickles, which are not copied. */
const weights = /\.(safetensors|bin|pt|pth|h5|msgpack|onnx|gguf)$|\.index\.json$/;

/**
 * Copies config, tokenizer and all other files beside the weights, except hidden ones, and of the folders those of sentence-transformers'
 * modules.
 */
export async function copyModelFiles(from: string, to: string, { dtype, without = [] }: CopyOptions): Promise<void> {
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const { name } = entry;
    if (entry.isDirectory() || name.startsWith(".") || weights.test(name) || without.includes(name)) continue;
    await copyFile(join(from, name), join(to, name));
  }
  for (const module of await moduleFolders(from)) {
    // Modules without settings have a folder that is empty, or none.
    if (await isFolder(join(from, module)))
      await cp(join(from, module), join(to, module), { recursive: true, dereference: true });
  }
  if (dtype === "same") return;
  const path = join(to, "config.json");
  const config: unknown = JSON.parse(await readFile(path, "utf8"));
  assert(typeof config === "object" && config !== null, "an opened checkpoint has a config");
  const key = "torch_dtype" in config ? "torch_dtype" : "dtype";
  await writeFile(path, `${JSON.stringify({ ...config, [key]: "float32" }, null, 2)}\n`);
}

/** Values in a stored type, rounded to nearest; for F32 the array itself. */
export function narrow(values: Float32Array, dtype: FloatDtype): Float32Array | Uint16Array {
  if (dtype === "F32") return values;
  return dtype === "F16" ? float32ToFloat16(values) : float32ToBfloat16(values);
}

/** The dtype of an opened checkpoint's weights. */
export function floatOf(dtype: string): FloatDtype {
  assert(dtype === "F32" || dtype === "F16" || dtype === "BF16", `weights of an opened checkpoint are not ${dtype}`);
  return dtype;
}
