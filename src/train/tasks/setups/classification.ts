/** Classification of texts and of pictures. */

import type { RowTokenizer } from "../../../text/tokenizer/row-tokenizer.js";
import type { Fields } from "../../data/rows.js";
import { labelOf, RowFault, shown, textOf } from "../../data/rows.js";
import { describePicture, ImageReader, imageInputs } from "../inputs/image-inputs.js";
import { NumberReader, numberInputs } from "../inputs/tensor-inputs.js";
import { firstText, textInputs } from "../inputs/text-inputs.js";
import { chooseLabels, newLabels, requireSeveral, requireSingle } from "../labels.js";
import { classification, shownLabels } from "../objectives/classification.js";
import { gradedScore, independentLabels } from "../objectives/independent-labels.js";
import type { RowReader, TaskData } from "../task-data.js";
import type { TaskExample, TaskObjective } from "../types.js";
import { chooseOutput, requireTokenizer, type SetupParts, type TaskGoal, type TaskSetup, widthOf } from "./setup.js";

export function textClassification(parts: SetupParts): TaskSetup {
  const tokenizer = requireTokenizer(parts);
  const lesson = lessonOf(parts);
  return {
    reader: labelledTextReader(tokenizer, parts.maxLength, lesson),
    inputs: textInputs(parts.graph, tokenizer),
    savesHeads: true,
    newLabels: (data) => newLabels(labelsIn(data, lesson), parts.head.labels),
    objective(data, given) {
      const { labels, output, goal } = labelGoal(parts, lesson, data, given);
      return lesson.field === "label"
        ? { ...goal, assessment: shownLabels(labels, output, firstText(tokenizer)) }
        : goal;
    },
  };
}

/** `maxLength`: tokens of the longest row; null: the model's limit. */
export function labelledTextReader(
  tokenizer: RowTokenizer,
  maxLength: number | null,
  lesson: Pick<Lesson, "field" | "example" | "read" | "labelsOf"> = oneLabel,
): RowReader {
  const limit = maxLength ?? undefined;
  return {
    kind: "label",
    warningsOf: (rows) => singleLabel(rows, lesson),
    forms: [
      {
        required: ["text", lesson.field],
        optional: ["text_pair"],
        example: { text: "A fine film.", [lesson.field]: lesson.example },
      },
    ],
    async read(fields, place) {
      const text = textOf(fields, "text");
      const pair =
        fields.text_pair === undefined || fields.text_pair === null ? undefined : textOf(fields, "text_pair");
      const whole = await tokenizer.encodeRow({ text, pair }, { truncate: true, maxLength: limit });
      if (whole.ids.length === 0) throw new RowFault("has a text without tokens");
      const target = lesson.read(fields[lesson.field]);
      const most = Math.min(limit ?? Number.POSITIVE_INFINITY, tokenizer.maxLength ?? Number.POSITIVE_INFINITY);
      return {
        source: [whole],
        target,
        size: whole.ids.length,
        place,
        isShortened: whole.ids.length >= most,
        isEmpty: text.trim() === "",
      };
    },
  };
}

/** Without a preprocessor, pictures are numbers as the model takes them. */
export function imageClassification(parts: SetupParts): TaskSetup {
  const { graph, preprocessor } = parts;
  const lesson = lessonOf(parts);
  const form = {
    required: ["image", lesson.field],
    example: { image: "cats/1.png", [lesson.field]: lesson.example },
  };
  const images = preprocessor && new ImageReader(preprocessor, graph);
  const numbers = images ? null : new NumberReader(graph);
  const reader: RowReader = {
    kind: "label",
    warningsOf: (rows) => singleLabel(rows, lesson),
    forms: [form],
    async read(fields: Fields, place) {
      const target = lesson.read(fields[lesson.field]);
      if (numbers) return { source: numbers.read(fields.image, "image"), target, size: 1, place };
      const source = await images?.read(fields.image, place);
      return { source, target, size: 1, place, ...(source && { sha256: source.sha256 }) };
    },
  };
  return {
    reader,
    inputs: images ? imageInputs(graph) : numberInputs(graph),
    savesHeads: true,
    newLabels: (data) => newLabels(labelsIn(data, lesson), parts.head.labels),
    objective(data, given) {
      const { labels, output, goal } = labelGoal(parts, lesson, data, given);
      const isShown = images !== null && lesson.field === "label";
      return isShown ? { ...goal, assessment: shownLabels(labels, output, describePicture) } : goal;
    },
  };
}

/** What a row says about its text or picture, and what is learnt from it. */
interface Lesson {
  readonly field: "label" | "labels" | "score";
  readonly example: Fields[string];
  /** Throws RowFault. */
  read(value: unknown): unknown;
  /** The labels of targets. */
  labelsOf(target: unknown): readonly string[];
  /** Throws `invalid_value` for labels that a head of this kind cannot have. */
  requireFit(labels: readonly string[]): void;
  objective(labels: readonly string[], output: string): TaskObjective<never>;
}

const oneLabel: Lesson = {
  ...{ field: "label", example: "good", requireFit: requireSeveral, read: labelOf, objective: classification },
  labelsOf: (target) => [String(target)],
};

/** As the model is served, whatever head an adapter gives it: by a softmax, by a sigmoid for each label, or by a single one. */
function lessonOf({ head: { isExclusive, labels } }: SetupParts): Lesson {
  if (labels?.length === 1) {
    return {
      ...{ field: "score", example: 0.8, requireFit: requireSingle, read: scoreOf },
      labelsOf: () => [],
      objective: (_, output) => gradedScore(output),
    };
  }
  if (isExclusive) return oneLabel;
  return {
    ...{ field: "labels", example: ["good", "short"], requireFit: () => {}, read: labelListOf },
    objective: independentLabels,
    labelsOf: (target) => target as readonly string[],
  };
}

/** Cells of CSV files are texts. */
function scoreOf(value: unknown): number {
  const score = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
  if (typeof score === "number" && score >= 0 && score <= 1) return score;
  throw new RowFault(`must have a number from 0 to 1 as \`score\`, not ${shown(value)}`);
}

function labelListOf(value: unknown): string[] {
  if (!Array.isArray(value)) throw new RowFault(`must have a list of labels as \`labels\`, not ${shown(value)}`);
  return [...new Set(value.map(labelOf))];
}

/** Rows of a single label teach to give it always. */
function singleLabel(rows: readonly TaskExample[], { field, labelsOf }: Pick<Lesson, "field" | "labelsOf">): string[] {
  if (field !== "label" || rows.length < 2) return [];
  const [only, ...others] = new Set(rows.flatMap(({ target }) => labelsOf(target)));
  if (only === undefined || others.length > 0) return [];
  return [
    `All ${rows.length} rows have the label ${JSON.stringify(only)}: a model learns nothing from them but to give it always.`,
  ];
}

const labelsIn = ({ train, valid, test }: TaskData, { labelsOf }: Lesson): string[] =>
  [...train, ...valid, ...test].flatMap(({ target }: TaskExample) => labelsOf(target));

function labelGoal(
  { graph, head }: SetupParts,
  lesson: Lesson,
  data: TaskData,
  given: readonly string[] | null,
): { goal: TaskGoal; labels: readonly string[]; output: string } {
  const output = chooseOutput(graph, ["logits"]);
  const found = labelsIn(data, lesson);
  const { labels, isFresh } = chooseLabels({ given, base: head.labels, width: widthOf(graph, output), found });
  lesson.requireFit(labels);
  const goal = {
    objective: lesson.objective(labels, output) as TaskObjective<unknown>,
    labels: given ?? head.labels,
    freshHead: isFresh ? { output, width: labels.length } : null,
  };
  return { goal, labels, output };
}
