/** A text checkpoint wrapped as the text part of a multimodal one: its config under text_config, its tensors among other models'. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { SafetensorsFile } from "../../src/tensor/safetensors.js";
import { type TensorToWrite, writeSafetensors } from "../../src/tensor/safetensors-write.js";
import { readObject } from "./old-spelling.js";

/** Writes the Qwen 3.5 text checkpoint of `source` to `target` as released checkpoints are. */
export async function writeWrapped(source: string, target: string): Promise<void> {
  const {
    tie_word_embeddings,
    eos_token_id,
    dtype,
    architectures: _,
    ...text
  } = await readObject(join(source, "config.json"));
  await mkdir(target, { recursive: true });
  const config = {
    architectures: ["Qwen3_5ForConditionalGeneration"],
    model_type: "qwen3_5",
    text_config: {
      ...text,
      attn_output_gate: true,
      mtp_num_hidden_layers: 1,
      rope_parameters: { ...Object(text.rope_parameters), mrope_interleaved: true, mrope_section: [3, 3, 2] },
    },
    tie_word_embeddings,
    eos_token_id,
    dtype,
    image_token_id: 300,
    vision_config: { model_type: "qwen3_5", depth: 1 },
  };
  await writeFile(join(target, "config.json"), JSON.stringify(config));
  await using file = await SafetensorsFile.open(join(source, "model.safetensors"));
  const tensors: TensorToWrite[] = ["model.visual.patch_embed.proj.bias", "mtp.norm.weight"].map((name) => ({
    name,
    dtype: "F32",
    shape: [1],
    data: new Float32Array(1),
  }));
  for (const [name, { dtype: stored, shape }] of file.tensors) {
    const data = await file.read(name);
    tensors.push({ name: name.replace(/^model\./, "model.language_model."), dtype: stored, shape, data });
  }
  await writeSafetensors(join(target, "model.safetensors"), tensors, { format: "pt" });
}
