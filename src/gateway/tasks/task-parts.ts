/** What protocols make requests and answers of a task model with. */

import type { TextBounds } from "../body/text-inputs.js";
import type { Detector } from "./detections.js";
import type { ImageTasks } from "./image-tasks.js";
import type { TextHead, TextTasks } from "./text-tasks.js";

export interface TaskParts {
  /** The model's, by Hugging Face's name. */
  readonly task: string;
  readonly texts: TextTasks;
  readonly textBounds: TextBounds;
  readonly images: ImageTasks;
  readonly head: TextHead;
  readonly detector: Detector;
}
