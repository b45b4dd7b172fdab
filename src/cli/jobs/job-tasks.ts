/** Tasks of task models that fine-tuning jobs train. Their rows are texts: one that names a picture would read a file of the server. */

import type { Task } from "../../model/task/tasks.js";

const jobTasks: readonly Task[] = ["text-classification", "token-classification", "feature-extraction"];

export const isJobTask = (task: Task): boolean => jobTasks.includes(task);

/** The tasks as a sentence lists them. */
export const shownJobTasks = `${jobTasks.slice(0, -1).join(", ")} and ${jobTasks.at(-1)}`;
