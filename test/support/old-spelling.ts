/**
 * Rewrites a checkpoint of transformers 5 into the spelling of the versions before it: the config's keys, and in the
 * weights GPT-2's bare names and mask buffers, rotary frequencies, and a tied head stored twice.
 */

import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { SafetensorsFile } from "../../src/tensor/safetensors.js";
import { type TensorToWrite, writeSafetensors } from "../../src/tensor/safetensors-write.js";

export type Json = Record<string, unknown>;

export function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export async function readObject(path: string): Promise<Json> {
  const json: unknown = JSON.parse(await readFile(path, "utf8"));
  if (!isObject(json)) throw new Error(`${path} holds no object`);
  return json;
}

/** Whether a family was there before transformers 5, whose spelling of a config is its own. */
export const hasOldSpelling = (family: string): boolean => family !== "ministral3" && family !== "qwen3_5_text";

/** Families in which a config without `num_key_value_heads` does not have as many as heads. */
const hasOwnKvDefault: ReadonlySet<string> = new Set(["mistral", "gemma2", "gemma3_text", "smollm3", "stablelm"]);

/** The same config as transformers 4 would have written it. `family` is its model_type. */
export function oldSpelling(family: string, config: Json): Json {
  const { dtype, rope_parameters: rope, layer_types, ...old } = config;
  old.transformers_version = "4.37.2";
  old.torch_dtype = dtype;
  if (isObject(old.text_config)) {
    old.text_config = oldSpelling(String(old.text_config.model_type), old.text_config);
    return old;
  }
  if (family === "gpt2") {
    delete old.add_cross_attention;
    delete old.tie_word_embeddings; // true, as it was for every model that did not say otherwise
    old.n_ctx = old.n_positions;
    return old;
  }
  // Where ropes differ by layer type, the old key states that of full attention.
  if (isObject(rope)) Object.assign(old, oldRope(isObject(rope.full_attention) ? rope.full_attention : rope));
  // The first versions of this family had it already.
  if (family === "olmo3") old.layer_types = layer_types;
  if (family === "gemma3_text" && isObject(rope) && Array.isArray(layer_types)) {
    old.rope_local_base_freq = isObject(rope.sliding_attention) && rope.sliding_attention.rope_theta;
    old.sliding_window_pattern = 1 + layer_types.indexOf("full_attention");
  }
  if (family === "gpt_neox") {
    const { rope_theta, partial_rotary_factor, ...others } = old;
    return { ...others, rotary_emb_base: rope_theta, rotary_pct: partial_rotary_factor };
  }
  if (family === "lfm2") {
    const types: unknown[] = Array.isArray(layer_types) ? layer_types : [];
    old.full_attn_idxs = types.flatMap((type, layer) => (type === "full_attention" ? [layer] : []));
    old.block_ff_dim = old.intermediate_size;
    old.tie_embedding = old.tie_word_embeddings;
    delete old.intermediate_size;
    delete old.tie_word_embeddings;
  }
  const { head_dim, hidden_size, num_attention_heads: heads } = config;
  const isDerived = Number(hidden_size) / Number(heads) === head_dim;
  if (isDerived && !family.startsWith("gemma") && family !== "qwen3") delete old.head_dim;
  if (old.num_key_value_heads === heads && !hasOwnKvDefault.has(family)) delete old.num_key_value_heads;
  if (family === "gemma2") {
    delete old.tie_word_embeddings;
    delete old.use_bidirectional_attention;
    Object.assign(old, { hidden_act: old.hidden_activation, cache_implementation: "hybrid" });
  }
  if (family === "granitemoehybrid") {
    old.layers_block_type = Array.isArray(layer_types) ? layer_types.map(() => "attention") : layer_types;
  }
  if (family === "qwen2" || family === "qwen3") {
    const types: unknown[] = Array.isArray(layer_types) ? layer_types : [];
    const first = types.indexOf("sliding_attention");
    old.use_sliding_window = first >= 0;
    old.max_window_layers = first >= 0 ? first : types.length;
    old.sliding_window ??= 4096; // written although it is switched off
  }
  return old;
}

function oldRope({ rope_theta, rope_type, partial_rotary_factor, ...scaling }: Json): Json {
  const old: Json = { rope_theta, rope_scaling: null };
  if (partial_rotary_factor !== undefined) old.partial_rotary_factor = partial_rotary_factor;
  // Linear scaling came with the key `type`; llama3 only after it had become `rope_type`.
  if (rope_type === "linear") old.rope_scaling = { type: rope_type, ...scaling };
  else if (rope_type !== "default") old.rope_scaling = { rope_type, ...scaling };
  return old;
}

/** Writes the checkpoint in `source` to `target` (created if missing) in the old spelling: config and weights. */
export async function writeOldCheckpoint(source: string, target: string): Promise<void> {
  const config = await readObject(join(source, "config.json"));
  const family = String(config.model_type);
  await mkdir(target, { recursive: true });
  await writeFile(join(target, "config.json"), JSON.stringify(oldSpelling(family, config)));
  await copyFile(join(source, "generation_config.json"), join(target, "generation_config.json"));
  const tensors = await oldTensors(family, config, join(source, "model.safetensors"));
  await writeSafetensors(join(target, "model.safetensors"), tensors, { format: "pt" });
}

/** The tensors of a weights file under their old names, with the buffers that old versions saved. */
export async function oldTensors(family: string, config: Json, path: string): Promise<TensorToWrite[]> {
  await using file = await SafetensorsFile.open(path);
  const tensors: TensorToWrite[] = [];
  for (const [name, { dtype, shape }] of file.tensors) {
    const data = await file.read(name);
    tensors.push({ name: oldName(family, name), dtype, shape, data });
    if (/\.(embed_tokens|wte|embed_in)\.weight$/.test(name) && config.tie_word_embeddings === true) {
      tensors.push({ name: family === "gpt_neox" ? "embed_out.weight" : "lm_head.weight", dtype, shape, data });
    }
  }
  return [...tensors, ...(family === "gpt2" ? masks(config) : frequencies(family, config))];
}

function oldName(family: string, name: string): string {
  if (family === "gpt2") return name.replace("transformer.", "");
  // Some trainers saved what transformers 4.52 and later call the modules in memory.
  if (family === "gemma3")
    return name.replace(/^language_model\.model\./, "model.language_model.").replace(/^vision/, "model.$&");
  return name;
}

function masks({ n_layer, n_positions }: Json): TensorToWrite[] {
  const length = Number(n_positions);
  const data = Float32Array.from({ length: length * length }, (_, i) => (i % length <= i / length ? 1 : 0));
  return layers(n_layer).flatMap((layer): TensorToWrite[] => [
    { name: `h.${layer}.attn.bias`, dtype: "F32", shape: [1, 1, length, length], data },
    { name: `h.${layer}.attn.masked_bias`, dtype: "F32", shape: [], data: new Float32Array([-1e4]) },
  ]);
}

function frequencies(family: string, config: Json): TensorToWrite[] {
  const { num_hidden_layers, hidden_size, num_attention_heads, head_dim } = isObject(config.text_config)
    ? config.text_config
    : config;
  const prefixes: Record<string, string> = { gpt_neox: "gpt_neox.layers", gemma3: "language_model.model.layers" };
  const attention = family === "gpt_neox" ? "attention" : "self_attn";
  const size = Number(head_dim ?? Number(hidden_size) / Number(num_attention_heads)) / 2;
  const data = Float32Array.from({ length: size }, (_, i) => 10000 ** (-i / size));
  return layers(num_hidden_layers).map((layer) => ({
    name: `${prefixes[family] ?? "model.layers"}.${layer}.${attention}.rotary_emb.inv_freq`,
    dtype: "F32",
    shape: [size],
    data,
  }));
}

function layers(count: unknown): number[] {
  return Array.from({ length: Number(count) }, (_, layer) => layer);
}
