/**
 * Writes an adapter's folder as PEFT does: the config keys that every PEFT and vLLM release loads, sorted, and tensors in float32 or
 * rounded to bfloat16. Equal input gives equal bytes.
 */

import { mkdir, open } from "node:fs/promises";
import { join } from "node:path";
import { assert } from "../../base/errors.js";
import { float32ToBfloat16 } from "../../tensor/half.js";
import type { TensorToWrite } from "../../tensor/safetensors-write.js";
import { writeSafetensors } from "../../tensor/safetensors-write.js";
import { configFile, weightFiles } from "./files.js";

export interface AdapterToWrite {
  readonly config: {
    readonly r: number;
    readonly loraAlpha: number;
    readonly baseModelName: string | null;
    /** Module names or paths. */
    readonly targetModules: readonly string[];
    readonly loraDropout?: number;
    readonly useRslora?: boolean;
    /** Each module has a magnitude. */
    readonly useDora?: boolean;
    readonly rankPattern?: Readonly<Record<string, number>>;
    readonly alphaPattern?: Readonly<Record<string, number>>;
    /** true for bases that store weights as [in, out], such as gpt2. */
    readonly fanInFanOut?: boolean;
  };
  readonly tensors: readonly ModuleToWrite[];
}

/** One module, in PEFT's layout. */
export interface ModuleToWrite {
  readonly path: string;
  readonly rank: number;
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly a: Float32Array; // [rank, inFeatures]
  readonly b: Float32Array; // [outFeatures, rank]
  readonly magnitude?: Float32Array; // [outFeatures]
}

export type AdapterDtype = "F32" | "BF16";

/**
 * Writes `adapter_config.json` and `adapter_model.safetensors` into `folder`, which is created if missing. With `fsync` the files are on
 * disk when it resolves. For an atomic result write to a temporary folder and rename it.
 */
export async function writeAdapter(
  folder: string,
  adapter: AdapterToWrite,
  options: { readonly fsync?: boolean; readonly dtype?: AdapterDtype } = {},
): Promise<void> {
  const { dtype = "F32" } = options;
  const tensors = adapter.tensors.flatMap((module) => toTensors(module, dtype));
  await mkdir(folder, { recursive: true });
  await writeSafetensors(join(folder, weightFiles[0]), tensors, { format: "pt" }, options);
  const handle = await open(join(folder, configFile), "w");
  try {
    await handle.writeFile(encodeConfig(adapter.config));
    if (options.fsync) await handle.sync();
  } finally {
    await handle.close();
  }
}

function toTensors(module: ModuleToWrite, dtype: AdapterDtype): TensorToWrite[] {
  const { path, rank, inFeatures, outFeatures, a, b, magnitude } = module;
  assert(a.length === rank * inFeatures, `lora_A of ${path} has ${a.length} elements, not [${rank}, ${inFeatures}]`);
  assert(b.length === outFeatures * rank, `lora_B of ${path} has ${b.length} elements, not [${outFeatures}, ${rank}]`);
  const name = `base_model.model.${path}`;
  const stored = (values: Float32Array): ArrayBufferView => (dtype === "BF16" ? float32ToBfloat16(values) : values);
  return [
    { name: `${name}.lora_A.weight`, dtype, shape: [rank, inFeatures], data: stored(a) },
    { name: `${name}.lora_B.weight`, dtype, shape: [outFeatures, rank], data: stored(b) },
    ...(magnitude
      ? [{ name: `${name}.lora_magnitude_vector`, dtype, shape: [outFeatures], data: stored(magnitude) }]
      : []),
  ];
}

function encodeConfig(config: AdapterToWrite["config"]): string {
  // In alphabetical order, as PEFT writes them. Patterns keep their order, since the first match counts.
  const keys = {
    alpha_pattern: config.alphaPattern ?? {},
    base_model_name_or_path: config.baseModelName,
    bias: "none",
    fan_in_fan_out: config.fanInFanOut ?? false,
    inference_mode: true,
    init_lora_weights: true,
    layers_pattern: null,
    layers_to_transform: null,
    lora_alpha: config.loraAlpha,
    lora_dropout: config.loraDropout ?? 0,
    modules_to_save: null,
    peft_type: "LORA",
    r: config.r,
    rank_pattern: config.rankPattern ?? {},
    revision: null,
    target_modules: [...config.targetModules].sort(),
    task_type: "CAUSAL_LM",
    ...(config.useDora ? { use_dora: true } : {}), // older releases reject the key
    use_rslora: config.useRslora ?? false,
  };
  return `${JSON.stringify(keys, null, 2)}\n`;
}
