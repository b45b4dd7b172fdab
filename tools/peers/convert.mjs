// Converts models of Llama's family and their adapters to GGUF. Adapters become F32, the default of llama.cpp's converter.

import { mkdir, readFile, rename, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { f32, i32s, text, texts, u32, writeGguf } from "./gguf.mjs";
import { openSafetensors } from "./safetensors.mjs";

/** llama.cpp's names of a layer's weights. */
const matrices = {
  "self_attn.q_proj": "attn_q",
  "self_attn.k_proj": "attn_k",
  "self_attn.v_proj": "attn_v",
  "self_attn.o_proj": "attn_output",
  "mlp.gate_proj": "ffn_gate",
  "mlp.up_proj": "ffn_up",
  "mlp.down_proj": "ffn_down",
};
const norms = { input_layernorm: "attn_norm", post_attention_layernorm: "ffn_norm" };

/** Converts a model once, with one `type` for the layers' matrices and one for embeddings and head. Resolves with the path. */
export async function convertModel(folder, path, { layers, embeddings }) {
  return once(path, async (temporary) => {
    const config = JSON.parse(await readFile(join(folder, "config.json"), "utf8"));
    const source = await openSafetensors(join(folder, "model.safetensors"));
    const tensor = (from, to, type, change = (values) => values) => ({
      name: `${to}.weight`,
      type,
      dims: [...source.shape(`${from}.weight`)].reverse(),
      read: async () => change(await source.read(`${from}.weight`)),
    });
    const tensors = [
      tensor("model.embed_tokens", "token_embd", embeddings),
      tensor("model.norm", "output_norm", "F32"),
    ];
    if (!config.tie_word_embeddings) tensors.push(tensor("lm_head", "output", embeddings));
    const factors = ropeFactors(config);
    if (factors)
      tensors.push({ name: "rope_freqs.weight", type: "F32", dims: [factors.length], read: async () => factors });
    for (let layer = 0; layer < config.num_hidden_layers; layer++) {
      for (const [from, to] of Object.entries(norms)) {
        tensors.push(tensor(`model.layers.${layer}.${from}`, `blk.${layer}.${to}`, "F32"));
      }
      for (const [from, to] of Object.entries(matrices)) {
        const heads = headsOf(config, from);
        const change = (values) => (heads ? permute(values, heads) : values);
        tensors.push(tensor(`model.layers.${layer}.${from}`, `blk.${layer}.${to}`, layers, change));
      }
    }
    await writeGguf(temporary, modelMetadata(config, layers), tensors);
    await source.close();
  });
}

/** Converts a PEFT folder once. Resolves with the path. */
export async function convertAdapter(folder, model, path) {
  return once(path, async (temporary) => {
    const config = JSON.parse(await readFile(join(model, "config.json"), "utf8"));
    const alpha = alphaOf(JSON.parse(await readFile(join(folder, "adapter_config.json"), "utf8")));
    const source = await openSafetensors(join(folder, "adapter_model.safetensors"));
    const tensors = source.names.map((name) => {
      const [, layer, module, side] = /layers\.(\d+)\.(.+)\.lora_([AB])\.weight$/.exec(name);
      const heads = side === "B" ? headsOf(config, module) : null;
      return {
        name: `blk.${layer}.${matrices[module]}.weight.lora_${side.toLowerCase()}`,
        type: "F32",
        dims: [...source.shape(name)].reverse(),
        read: async () => (heads ? permute(await source.read(name), heads) : source.read(name)),
      };
    });
    const metadata = [
      ["general.architecture", text("llama")],
      ["general.type", text("adapter")],
      ["adapter.type", text("lora")],
      ["adapter.lora.alpha", f32(alpha)],
    ];
    await writeGguf(temporary, metadata, tensors);
    await source.close();
  });
}

/** llama.cpp always scales by alpha / rank, whatever the method. */
function alphaOf({ lora_alpha: alpha, r: rank, use_rslora: rootRank, alpha_pattern: alphas, rank_pattern: ranks }) {
  if (Object.keys({ ...alphas, ...(rootRank ? ranks : {}) }).length > 0)
    throw new Error("rank or alpha patterns are not supported");
  return rootRank ? alpha * Math.sqrt(rank) : alpha;
}

async function once(path, make) {
  if (await stat(path).catch(() => null)) return path;
  await mkdir(dirname(path), { recursive: true });
  await make(`${path}.${process.pid}`);
  await rename(`${path}.${process.pid}`, path);
  return path;
}

function headsOf(config, module) {
  if (module === "self_attn.q_proj") return { count: config.num_attention_heads, size: config.head_dim };
  if (module === "self_attn.k_proj") return { count: config.num_key_value_heads, size: config.head_dim };
  return null;
}

/** Reorders a head's rows: llama.cpp rotates adjacent rows, Hugging Face rows half a head apart. */
function permute(values, { count, size }) {
  const width = values.length / (count * size);
  const out = new Float32Array(values.length);
  for (let head = 0; head < count; head++) {
    for (let row = 0; row < size; row++) {
      const from = head * size + (row % 2) * (size / 2) + (row >> 1);
      out.set(values.subarray(from * width, (from + 1) * width), (head * size + row) * width);
    }
  }
  return out;
}

/** The divisor of each frequency under llama3 scaling; null without it. */
function ropeFactors({ rope_parameters: rope, head_dim: size }) {
  if (rope.rope_type !== "llama3") return null;
  const {
    rope_theta,
    factor,
    low_freq_factor: low,
    high_freq_factor: high,
    original_max_position_embeddings: length,
  } = rope;
  return Float32Array.from({ length: size / 2 }, (_, i) => {
    const turns = length / (2 * Math.PI * rope_theta ** ((2 * i) / size));
    if (turns < low) return factor;
    if (turns > high) return 1;
    const smooth = (turns - low) / (high - low);
    return 1 / ((1 - smooth) / factor + smooth);
  });
}

/** llama.cpp's file types by the type of most tensors. */
const fileTypes = { F32: 0, Q4_0: 2, Q8_0: 7 };

function modelMetadata(config, layers) {
  const vocab = Array.from({ length: config.vocab_size }, (_, id) => `Ġw${id}`);
  return [
    ["general.architecture", text("llama")],
    ["general.name", text("random")],
    ["general.file_type", u32(fileTypes[layers])],
    ["general.quantization_version", u32(2)],
    ["llama.context_length", u32(config.max_position_embeddings)],
    ["llama.embedding_length", u32(config.hidden_size)],
    ["llama.block_count", u32(config.num_hidden_layers)],
    ["llama.feed_forward_length", u32(config.intermediate_size)],
    ["llama.attention.head_count", u32(config.num_attention_heads)],
    ["llama.attention.head_count_kv", u32(config.num_key_value_heads)],
    ["llama.attention.key_length", u32(config.head_dim)],
    ["llama.attention.value_length", u32(config.head_dim)],
    ["llama.attention.layer_norm_rms_epsilon", f32(config.rms_norm_eps)],
    ["llama.rope.dimension_count", u32(config.head_dim)],
    ["llama.rope.freq_base", f32(config.rope_parameters.rope_theta)],
    ["llama.vocab_size", u32(config.vocab_size)],
    ["tokenizer.ggml.model", text("gpt2")],
    ["tokenizer.ggml.pre", text("default")],
    ["tokenizer.ggml.tokens", texts(vocab)],
    ["tokenizer.ggml.token_type", i32s(vocab.map(() => 1))],
    ["tokenizer.ggml.merges", texts(["Ġw 0"])],
    ["tokenizer.ggml.bos_token_id", u32(Math.min(config.bos_token_id, config.vocab_size - 1))],
    ["tokenizer.ggml.eos_token_id", u32(Math.min(config.eos_token_id, config.vocab_size - 1))],
  ];
}
