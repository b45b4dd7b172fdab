/** Classification of texts and of pictures. */

import { LorikeetError } from "../../../base/errors.js";
import type { Fields } from "../../data/rows.js";
import { labelOf, textOf } from "../../data/rows.js";
import { ImageReader, imageInputs } from "../inputs/image-inputs.js";
import { NumberReader, numberInputs } from "../inputs/tensor-inputs.js";
import { textInputs } from "../inputs/text-inputs.js";
import { chooseLabels, requireSeveral } from "../labels.js";
import { classification } from "../objectives/classification.js";
import type { RowReader, TaskData } from "../task-data.js";
import type { TaskExample } from "../types.js";
import { chooseOutput, requireTokenizer, type SetupParts, type TaskGoal, type TaskSetup, widthOf } from "./setup.js";

export function textClassification(parts: SetupParts): TaskSetup {
  requireExclusive(parts);
  const tokenizer = requireTokenizer(parts);
  const limit = parts.maxLength ?? undefined;
  const reader: RowReader = {
    kind: "label",
    forms: [{ required: ["text", "label"], optional: ["text_pair"], example: { text: "A fine film.", label: "good" } }],
    async read(fields, place) {
      const text = textOf(fields, "text");
      const pair =
        fields.text_pair === undefined || fields.text_pair === null ? undefined : textOf(fields, "text_pair");
      const whole = await tokenizer.encodeRow({ text, pair }, { truncate: true, maxLength: limit });
      const target = labelOf(fields.label);
      const most = Math.min(limit ?? Number.POSITIVE_INFINITY, tokenizer.maxLength ?? Number.POSITIVE_INFINITY);
      return { source: [whole], target, size: whole.ids.length, place, isShortened: whole.ids.length >= most };
    },
  };
  return {
    reader,
    inputs: textInputs(parts.graph, tokenizer),
    savesHeads: true,
    objective: (data, labels) => labelGoal(parts, data, labels),
  };
}

/** Without a preprocessor, pictures are numbers as the model takes them. */
export function imageClassification(parts: SetupParts): TaskSetup {
  requireExclusive(parts);
  const { graph, preprocessor } = parts;
  const form = { required: ["image", "label"], example: { image: "cats/1.png", label: "cat" } };
  const images = preprocessor && new ImageReader(preprocessor, graph);
  const numbers = images ? null : new NumberReader(graph);
  const reader: RowReader = {
    kind: "label",
    forms: [form],
    async read(fields: Fields, place) {
      const target = labelOf(fields.label);
      if (numbers) return { source: numbers.read(fields.image, "image"), target, size: 1, place };
      const source = await images?.read(fields.image, place);
      return { source, target, size: 1, place, ...(source && { sha256: source.sha256 }) };
    },
  };
  return {
    reader,
    inputs: images ? imageInputs(graph) : numberInputs(graph),
    savesHeads: true,
    objective: (data, labels) => labelGoal(parts, data, labels),
  };
}

/** The loss is that of a softmax. Throws `model_unsupported` for a model that is served with sigmoids, whatever head an adapter gives it. */
function requireExclusive({ head: { isExclusive, labels } }: SetupParts): void {
  if (isExclusive) return;
  const found =
    labels?.length === 1 ? "has a single label" : "scores each label by itself (multi_label_classification)";
  const message = `The model ${found}; only classifiers whose labels exclude one another can be trained.`;
  throw new LorikeetError("model_unsupported", message, { param: "--model" });
}

function labelGoal({ graph, head }: SetupParts, data: TaskData, given: readonly string[] | null): TaskGoal {
  const output = chooseOutput(graph, ["logits"]);
  const width = widthOf(graph, output);
  const { labels, isFresh } = chooseLabels({ given, base: head.labels, width, found: labelsOf(data) });
  requireSeveral(labels);
  return {
    objective: classification(labels, output),
    labels: given ?? head.labels,
    freshHead: isFresh ? { output, width: labels.length } : null,
  };
}

export function labelsOf({ train, valid, test }: TaskData): string[] {
  return [...train, ...valid, ...test].map(({ target }: TaskExample) => String(target));
}
