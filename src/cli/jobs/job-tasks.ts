/** Tasks that fine-tuning jobs train. Their rows are texts or numbers: one that names a picture would read a file of the server. */

import type { Task } from "../../model/task/tasks.js";
import type { TrainedTask } from "../../train/tasks/setups/open.js";

const jobTasks = [
  ...["text-classification", "token-classification", "feature-extraction"],
  ...["translation", "text2text-generation", "reinforcement-learning"],
] as readonly TrainedTask[];

/** What jobs train of a task model; null: nothing. One that does not say what it is made for may be a policy. */
export const jobTaskOf = (task: Task): TrainedTask | null =>
  task === "tensors" ? "reinforcement-learning" : (jobTasks.find((each) => each === task) ?? null);

/** The tasks as a sentence lists them. */
export const shownJobTasks = `${jobTasks.slice(0, -1).join(", ")} and ${jobTasks.at(-1)}`;
