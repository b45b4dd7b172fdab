/** A model that trains in moments: the oracle's llama with a byte tokenizer, in a new folder. */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openCheckpoint } from "../../src/model/checkpoint/open.js";
import { writeSafetensors } from "../../src/tensor/safetensors-write.js";
import { narrow } from "../../src/train/files/model-files.js";
import { readSegment, toFloat32 } from "../../src/weights/convert/task.js";

const source = "test/fixtures/oracle/llama";

/** Writes the folder. Its tokens are the bytes of the embedded model's tokenizer: ids below its 320. */
export async function writeTinyModel(folder: string, dtype: "F32" | "BF16"): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const { tensors } = await openCheckpoint(source);
  await writeSafetensors(
    join(folder, "model.safetensors"),
    [...tensors.values()].map((location) => {
      const values = toFloat32(location.dtype, readSegment(location));
      return { name: location.name, dtype, shape: location.shape, data: narrow(values, dtype) };
    }),
  );
  const config = JSON.parse(readFileSync(join(source, "config.json"), "utf8"));
  const ends = { bos_token_id: 0, eos_token_id: 0, pad_token_id: 3 };
  const named = dtype === "F32" ? "float32" : "bfloat16";
  writeFileSync(join(folder, "config.json"), JSON.stringify({ ...config, ...ends, dtype: named }));
  writeFileSync(join(folder, "generation_config.json"), JSON.stringify(ends));
  writeByteTokenizer(folder);
}

/** Writes a tokenizer of 260 ids: the embedded model's four special tokens, its chat template, and one token for each byte. */
export function writeByteTokenizer(folder: string): void {
  const tokenizer = JSON.parse(readFileSync("models/bookworm-7m/tokenizer.json", "utf8"));
  const vocab = Object.entries<number>(tokenizer.model.vocab).filter(([, id]) => id < 260);
  const model = { ...tokenizer.model, vocab: Object.fromEntries(vocab), merges: [] };
  writeFileSync(join(folder, "tokenizer.json"), JSON.stringify({ ...tokenizer, model }));
  copyFileSync("models/bookworm-7m/tokenizer_config.json", join(folder, "tokenizer_config.json"));
}
