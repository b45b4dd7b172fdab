/** The tasks of models, by the name that Hugging Face gives them, as config.json's `architectures` tell them. */

import type { Json } from "../../base/json.js";

/** By how a class of transformers ends. The first that fits counts. */
const byEnding = [
  ["ForSequenceClassification", "text-classification"],
  ["ForTokenClassification", "token-classification"],
  ["ForQuestionAnswering", "question-answering"],
  ["ForMultipleChoice", "multiple-choice"],
  ["ForMaskedLM", "fill-mask"],
  ["ForCausalLM", "text-generation"],
  ["LMHeadModel", "text-generation"],
  ["ForImageClassification", "image-classification"],
  ["ForObjectDetection", "object-detection"],
  ["ForSemanticSegmentation", "image-segmentation"],
  ["ForUniversalSegmentation", "image-segmentation"],
  ["ForDepthEstimation", "depth-estimation"],
  ["ForAudioClassification", "audio-classification"],
  ["ForCTC", "automatic-speech-recognition"],
  ["ForSpeechSeq2Seq", "automatic-speech-recognition"],
  ["WhisperForConditionalGeneration", "automatic-speech-recognition"],
  ["MTModel", "translation"],
  ["MarianMTModel", "translation"],
  ["M2M100ForConditionalGeneration", "translation"],
  ["ForConditionalGeneration", "text2text-generation"],
  ["Model", "feature-extraction"],
] as const;

/** "tensors": nothing says what the inputs and outputs mean. */
export type Task = (typeof byEnding)[number][1] | "tensors";

export const isTask = (name: string): name is Task => name === "tensors" || byEnding.some(([, task]) => task === name);

/** `isEmbedder`: the folder has sentence-transformers' modules.json. */
export function taskOf(
  config: Json,
  isEmbedder: boolean,
): { readonly task: Task; readonly architecture: string | null } {
  const { architectures, architecture: timm, num_classes: classes } = config;
  const [named]: unknown[] = Array.isArray(architectures) ? architectures : [timm];
  const architecture = typeof named === "string" ? named : null;
  if (isEmbedder) return { task: "feature-extraction", architecture };
  const [, task] = byEnding.find(([ending]) => architecture?.endsWith(ending)) ?? [];
  if (task !== undefined) return { task, architecture };
  if (architecture === null || architecture !== timm) return { task: "tensors", architecture };
  // timm's own config.json: a backbone has no classes.
  return { task: classes === 0 ? "feature-extraction" : "image-classification", architecture };
}
