/** The tasks that can be trained, by Hugging Face's names. */

import { LorikeetError } from "../../../base/errors.js";
import { imageClassification, textClassification } from "./classification.js";
import { objectDetection } from "./detection.js";
import { policy } from "./policy.js";
import type { SetupParts, TaskSetup } from "./setup.js";

const setups = {
  "text-classification": textClassification,
  "image-classification": imageClassification,
  "object-detection": objectDetection,
  "reinforcement-learning": policy,
} as const satisfies Record<string, (parts: SetupParts) => TaskSetup>;

export type TrainedTask = keyof typeof setups;
export const trainedTasks = Object.keys(setups) as readonly TrainedTask[];

/** `of`: the task that the model's folder names. `asked`: the one of `--task`. Throws `invalid_value` or `model_unsupported`. */
export function chooseTask(of: string, asked: TrainedTask | null): TrainedTask {
  const isKnown = of !== "tensors" && of !== "feature-extraction";
  if (asked !== null && isKnown && asked !== of) {
    throw new LorikeetError("invalid_value", `--task is ${asked}, but the model is made for ${of}.`, {
      param: "--task",
      found: asked,
      allowed: of,
    });
  }
  const task = asked ?? trainedTasks.find((known) => known === of);
  if (task !== undefined) return task;
  const what = of === "tensors" ? "does not say what it is made for" : `is made for ${of}, which is not trained`;
  const message = `The model ${what}: --task names one of ${trainedTasks.join(", ")}.`;
  throw new LorikeetError("model_unsupported", message, { param: "--task", found: of, allowed: trainedTasks });
}

export const openSetup = (task: TrainedTask, parts: SetupParts): TaskSetup => setups[task](parts);
