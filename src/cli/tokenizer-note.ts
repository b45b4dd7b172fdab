/** What a model's files keep it from doing with texts, and what helps. */

import { readdir } from "node:fs/promises";
import type { TaskModel } from "../model/task/open.js";
import type { TextHead } from "../model/task/text-head.js";

/** Older tokenizer files that transformers converts. */
const older = ["tokenizer.model", "vocab.json", "spiece.model", "tekken.json"];

/** Notes on a task model of one graph. */
export function headNotes({ task }: Pick<TaskModel, "task">, { pooling }: Pick<TextHead, "pooling">): string[] {
  return task === "feature-extraction" && "refusal" in pooling
    ? [`texts get no vectors: the model ${pooling.refusal}`]
    : [];
}

/** Explains what a model without tokenizer.json can do, and how to create one. */
export async function noTokenizerNote(directory: string): Promise<string> {
  const names = await readdir(directory);
  const found = older.find((name) => names.includes(name));
  if (found === undefined) return "the model has no tokenizer: prompts must be token ids";
  return (
    `the model has ${found} but no tokenizer.json, so prompts must be token ids; convert it with transformers: ` +
    "AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
  );
}
