/** What a task needs to be trained, opened from a model's folder. A new task is one file here and one line in `open.ts`. */

import { LorikeetError } from "../../../base/errors.js";
import type { Graph } from "../../../graph/types.js";
import type { ImagePreprocessor } from "../../../image/preprocessor.js";
import type { Detector } from "../../../model/task/detector.js";
import type { GenerationRules } from "../../../model/task/generation-rules.js";
import type { TextHead } from "../../../model/task/text-head.js";
import type { RowTokenizer } from "../../../text/tokenizer/row-tokenizer.js";
import type { Assessment } from "../assessment.js";
import type { RequestLanguages } from "../inputs/translation-inputs.js";
import type { GeneratedText } from "../objectives/generation.js";
import type { FreshHead } from "../targets.js";
import type { RowReader, TaskData } from "../task-data.js";
import type { TaskInputs, TaskObjective } from "../types.js";

export interface SetupParts {
  readonly graph: Graph;
  /** null: the folder has none. */
  readonly tokenizer: RowTokenizer | null;
  readonly preprocessor: ImagePreprocessor | null;
  readonly head: TextHead;
  /** How the outputs become boxes, should the model be a detector. */
  readonly detector: Detector;
  /** Of encoder-decoders. */
  readonly generation: GenerationRules | null;
  /** Tokens of the longest row; null: the model's limit. */
  readonly maxLength: number | null;
}

export interface TaskSetup {
  readonly reader: RowReader;
  readonly inputs: TaskInputs<unknown>;
  /** Whether the layers that give the outputs are saved whole, unless options say otherwise. */
  readonly savesHeads: boolean;
  /** The labels of a new head, where the rows have one that the base's head lacks; null: it has them all. Absent: rows have no labels. Throws `data_invalid`. */
  newLabels?(data: TaskData): readonly string[] | null;
  /** Inputs that a row has: a batch of rows has so many times their number. */
  objective(data: TaskData, labels: readonly string[] | null): TaskGoal;
}

export interface TaskGoal {
  readonly objective: TaskObjective<unknown>;
  /** Rows without which a batch teaches nothing. Default: 1. */
  readonly leastRows?: number;
  /** What validations do beside the loss. Default: nothing. */
  readonly assessment?: Assessment;
  /** Of encoder-decoders: how whole answers are generated and compared. */
  readonly generation?: GeneratedText;
  /** The languages of the first validation or training row, where it names some: a request may name them alike. */
  readonly languages?: RequestLanguages;
  /** What the head's outputs are called; null: nothing has a name. */
  readonly labels: readonly string[] | null;
  /** null: the base's head is trained. */
  readonly freshHead: FreshHead | null;
}

/** The output of this name, or the only one. Throws `model_unsupported`. */
export function chooseOutput({ outputs }: Graph, preferred: readonly string[]): string {
  const found = preferred.find((name) => outputs.some((output) => output.name === name));
  const [only, ...others] = outputs;
  if (found !== undefined) return found;
  if (only && others.length === 0) return only.name;
  const names = outputs.map(({ name }) => name).join(", ");
  const message = `The model has the outputs ${names}; ${preferred.join(" or ")}, or a single output, is trained.`;
  throw new LorikeetError("model_unsupported", message, { param: "--task", found: names, allowed: preferred });
}

/** The last size of an output. Throws `model_unsupported` where the file does not state it. */
export function widthOf({ outputs }: Graph, name: string): number {
  const output = outputs.find((each) => each.name === name);
  const width = output?.unknown ? undefined : output?.shape.at(-1);
  if (typeof width === "number") return width;
  const message = `The ONNX file does not state how many values its output ${name} has for a row.`;
  throw new LorikeetError("model_unsupported", message, { param: name });
}

export function requireTokenizer({ tokenizer }: SetupParts): RowTokenizer {
  if (tokenizer) return tokenizer;
  throw new LorikeetError("tokenizer_missing", "The model has no tokenizer.json, which is required to read texts.", {
    param: "--model",
  });
}
