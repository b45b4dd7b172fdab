/** Explains what a model without tokenizer.json can do, and how to create one. */

import { readdir } from "node:fs/promises";

/** Older tokenizer files that transformers converts. */
const older = ["tokenizer.model", "vocab.json", "spiece.model", "tekken.json"];

export async function noTokenizerNote(directory: string): Promise<string> {
  const names = await readdir(directory);
  const found = older.find((name) => names.includes(name));
  if (found === undefined) return "the model has no tokenizer: prompts must be token ids";
  return (
    `the model has ${found} but no tokenizer.json, so prompts must be token ids; convert it with transformers: ` +
    "AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
  );
}
