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

export interface ConfigToWrite {
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
  /** Modules that are saved whole. Default: none. */
  readonly modulesToSave?: readonly string[];
  /** Whose biases are trained. Default: none. */
  readonly bias?: "none" | "lora_only" | "all";
  /** Default: CAUSAL_LM. null: PEFT's class for any model. */
  readonly taskType?: string | null;
}

export interface AdapterToWrite {
  readonly config: ConfigToWrite;
  readonly tensors: readonly ModuleToWrite[];
  /** Tensors of modules that are saved whole. Default: none. */
  readonly whole?: readonly NamedTensor[];
}

/** A tensor of an adapter under its name in the trained model: `encoder.query.lora_A.weight`. */
export interface NamedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: Float32Array;
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
  { config, tensors, whole = [] }: AdapterToWrite,
  options: WriteOptions = {},
): Promise<void> {
  await writeTensors(folder, config, [...tensors.flatMap(toTensors), ...whole], options);
}

export interface WriteOptions {
  readonly fsync?: boolean;
  readonly dtype?: AdapterDtype;
}

/** `writeAdapter` for tensors of any kind of module. */
export async function writeTensors(
  folder: string,
  config: ConfigToWrite,
  tensors: readonly NamedTensor[],
  options: WriteOptions = {},
): Promise<void> {
  const { dtype = "F32" } = options;
  const stored = tensors.map(({ name, shape, data }): TensorToWrite => {
    const bytes = dtype === "BF16" ? float32ToBfloat16(data) : data;
    return { name: `base_model.model.${name}`, dtype, shape, data: bytes };
  });
  await mkdir(folder, { recursive: true });
  await writeSafetensors(join(folder, weightFiles[0]), stored, { format: "pt" }, options);
  const handle = await open(join(folder, configFile), "w");
  try {
    await handle.writeFile(encodeConfig(config));
    if (options.fsync) await handle.sync();
  } finally {
    await handle.close();
  }
}

function toTensors(module: ModuleToWrite): NamedTensor[] {
  const { path, rank, inFeatures, outFeatures, a, b, magnitude } = module;
  assert(a.length === rank * inFeatures, `lora_A of ${path} has ${a.length} elements, not [${rank}, ${inFeatures}]`);
  assert(b.length === outFeatures * rank, `lora_B of ${path} has ${b.length} elements, not [${outFeatures}, ${rank}]`);
  return [
    { name: `${path}.lora_A.weight`, shape: [rank, inFeatures], data: a },
    { name: `${path}.lora_B.weight`, shape: [outFeatures, rank], data: b },
    ...(magnitude ? [{ name: `${path}.lora_magnitude_vector`, shape: [outFeatures], data: magnitude }] : []),
  ];
}

function encodeConfig(config: ConfigToWrite): string {
  // In alphabetical order, as PEFT writes them. Patterns keep their order, since the first match counts.
  const keys = {
    alpha_pattern: config.alphaPattern ?? {},
    base_model_name_or_path: config.baseModelName,
    bias: config.bias ?? "none",
    fan_in_fan_out: config.fanInFanOut ?? false,
    inference_mode: true,
    init_lora_weights: true,
    layers_pattern: null,
    layers_to_transform: null,
    lora_alpha: config.loraAlpha,
    lora_dropout: config.loraDropout ?? 0,
    modules_to_save: config.modulesToSave?.length ? [...config.modulesToSave].sort() : null,
    peft_type: "LORA",
    r: config.r,
    rank_pattern: config.rankPattern ?? {},
    revision: null,
    target_modules: [...config.targetModules].sort(),
    task_type: config.taskType === undefined ? "CAUSAL_LM" : config.taskType,
    ...(config.useDora ? { use_dora: true } : {}), // older releases reject the key
    use_rslora: config.useRslora ?? false,
  };
  return `${JSON.stringify(keys, null, 2)}\n`;
}
