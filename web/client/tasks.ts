/** Reads what Hugging Face's pipelines answer into the few forms that can be shown. */
import { fieldOf } from "./errors.js";

export interface Label {
  readonly label: string;
  /** 0 to 1. */
  readonly score: number;
}

/** Characters of the text from `start` to before `end`. */
export interface Span extends Label {
  readonly start: number;
  readonly end: number;
}

/** In pixels of the picture. */
export interface Box extends Label {
  readonly xmin: number;
  readonly ymin: number;
  readonly xmax: number;
  readonly ymax: number;
}

export type TaskResult =
  | { readonly kind: "labels"; readonly labels: readonly Label[] }
  | { readonly kind: "spans"; readonly spans: readonly Span[] }
  | { readonly kind: "boxes"; readonly boxes: readonly Box[] }
  | { readonly kind: "text"; readonly text: string }
  /** How alike two texts are, as the model sees them: at most 1. */
  | { readonly kind: "similarity"; readonly score: number }
  | { readonly kind: "other"; readonly value: unknown };

export const generation = "text-generation";
export const similarity = "sentence-similarity";

/** What of a base and its adapters has a form of its own. What is written is compared, and vectors are shown by what they say of two texts. */
export function formsOf(base: readonly string[], adapters: readonly (readonly string[])[]): readonly string[] {
  const all = [...new Set([...adapters.flat(), ...base])];
  const isShownByAnother = (task: string): boolean =>
    task === generation || (task === "feature-extraction" && all.includes(similarity));
  const isOwn = (task: string): boolean => task !== similarity;
  return all.filter((task) => !isShownByAnother(task)).sort((a, b) => Number(isOwn(b)) - Number(isOwn(a)));
}

/** Whether a model was made for writing first of all, so that it is compared. One that translates or labels has a form of its own. */
export const isWriter = ({ tasks }: { readonly tasks: readonly string[] }): boolean =>
  tasks.includes(generation) && (tasks[0] === generation || formsOf([], [tasks]).length === 0);

const textFields = ["translation_text", "summary_text", "generated_text"];

/** `task` tells the form of an empty list. */
export function readResult(answer: unknown, task: string): TaskResult {
  const list = unwrapped(answer);
  if (!list) return { kind: "other", value: answer };
  const [first] = list;
  if (task === similarity && typeof first === "number") return { kind: "similarity", score: first };
  for (const name of textFields) {
    const text = fieldOf(first, name);
    if (typeof text === "string") return { kind: "text", text };
  }
  if (task === "token-classification") return { kind: "spans", spans: list.map(spanOf) };
  if (task === "object-detection") return { kind: "boxes", boxes: list.map(boxOf) };
  if (typeof fieldOf(first, "label") === "string") return { kind: "labels", labels: list.map(labelOf) };
  return { kind: "other", value: answer };
}

/** The answer for the only input, which may be a list within a list. */
function unwrapped(answer: unknown): readonly unknown[] | null {
  if (!Array.isArray(answer)) return null;
  const [first] = answer;
  return Array.isArray(first) && typeof first[0] === "object" ? first : answer;
}

const numberOf = (value: unknown, name: string): number => Number(fieldOf(value, name) ?? 0);
const labelOf = (value: unknown): Label => ({
  label: String(fieldOf(value, "label") ?? fieldOf(value, "entity_group") ?? fieldOf(value, "entity") ?? ""),
  score: numberOf(value, "score"),
});

const spanOf = (value: unknown): Span => ({
  ...labelOf(value),
  start: numberOf(value, "start"),
  end: numberOf(value, "end"),
});

function boxOf(value: unknown): Box {
  const box = fieldOf(value, "box");
  const [xmin, ymin, xmax, ymax] = ["xmin", "ymin", "xmax", "ymax"].map((name) => numberOf(box, name));
  return { ...labelOf(value), xmin: xmin ?? 0, ymin: ymin ?? 0, xmax: xmax ?? 0, ymax: ymax ?? 0 };
}
