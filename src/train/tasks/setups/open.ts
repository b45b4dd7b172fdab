/** The tasks that can be trained, by Hugging Face's names. */

import { LorikeetError } from "../../../base/errors.js";
import { imageClassification, textClassification } from "./classification.js";
import { objectDetection } from "./detection.js";
import { featureExtraction } from "./embeddings.js";
import { policy } from "./policy.js";
import type { SetupParts, TaskSetup } from "./setup.js";
import { tokenClassification } from "./tagging.js";
import { textToText } from "./translation.js";

const setups = {
  "text-classification": textClassification,
  "image-classification": imageClassification,
  "object-detection": objectDetection,
  "token-classification": tokenClassification,
  "feature-extraction": featureExtraction,
  "reinforcement-learning": policy,
  translation: (parts) => textToText(parts, "translation"),
  "text2text-generation": (parts) => textToText(parts, "text2text-generation"),
} as const satisfies Record<string, (parts: SetupParts) => TaskSetup>;

export type TrainedTask = keyof typeof setups;
export const trainedTasks = Object.keys(setups) as readonly TrainedTask[];

/** Whether a task is that of models with an encoder and a decoder. */
const hasDecoder = (task: string): boolean => task === "translation" || task === "text2text-generation";

/** `of`: the task that the model's folder names. `asked`: the one of `--task`. `isPair`: whether it has an encoder and a decoder. Throws `invalid_value` or `model_unsupported`. */
export function chooseTask(of: string, asked: TrainedTask | null, isPair: boolean): TrainedTask {
  const isKnown = of !== "tensors" && of !== "feature-extraction";
  if (asked !== null && isKnown && asked !== of) {
    throw new LorikeetError("invalid_value", `--task is ${asked}, but the model is made for ${of}.`, {
      param: "--task",
      found: asked,
      allowed: of,
    });
  }
  const task = asked ?? trainedTasks.find((known) => known === of);
  if (task !== undefined && hasDecoder(task) !== isPair) {
    const message = `The model ${isPair ? "has" : "lacks"} an encoder and a decoder, so it is not trained for ${task}.`;
    throw new LorikeetError("model_unsupported", message, { param: "--task", found: task });
  }
  if (task !== undefined) return task;
  const what = of === "tensors" ? "does not say what it is made for" : `is made for ${of}, which is not trained`;
  const message = `The model ${what}: --task names one of ${trainedTasks.join(", ")}.`;
  throw new LorikeetError("model_unsupported", message, { param: "--task", found: of, allowed: trainedTasks });
}

export const openSetup = (task: TrainedTask, parts: SetupParts): TaskSetup => setups[task](parts);
