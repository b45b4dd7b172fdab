/** What PEFT's `task_type` says an adapter is for, compared with what its base does. */

import { quote } from "./faults.js";

/** Tasks of bases, by PEFT's names. */
const tasksOf: Readonly<Record<string, readonly string[]>> = {
  SEQ_CLS: ["text-classification"],
  TOKEN_CLS: ["token-classification"],
  QUESTION_ANS: ["question-answering"],
  SEQ_2_SEQ_LM: ["translation", "text2text-generation", "automatic-speech-recognition"],
  FEATURE_EXTRACTION: ["feature-extraction"],
  CAUSAL_LM: ["text-generation"],
};

/** Decoders classify texts with a head that the adapter brings, and give vectors. */
const tasksOfDecoders: readonly string[] = ["text-generation", "text-classification", "feature-extraction"];

/** `task`: of a task model; null: the base is a decoder. Types that PEFT does not know say nothing, nor do bases whose task is not known. */
export function taskWarning(taskType: unknown, task: string | null): string[] {
  const expected = typeof taskType === "string" && Object.hasOwn(tasksOf, taskType) ? tasksOf[taskType] : undefined;
  const own = task === null ? tasksOfDecoders : [task];
  if (!expected || task === "tensors" || expected.some((name) => own.includes(name))) return [];
  const found = task === null ? "a language model" : `for ${task}`;
  return [`The adapter was trained for ${expected[0]} (task_type ${quote(taskType)}); this base is ${found}.`];
}
