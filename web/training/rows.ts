/** A look at a file of rows before it is sent: how many it has, what they say, and those that no job could train on. */
import { type TaskRows, taskFaultOf, taskRowsOf } from "./task-rows.js";

/** Fields of a row, by which the server knows its form; rows may have other fields too. */
export const forms: readonly { readonly required: readonly string[]; readonly optional?: readonly string[] }[] = [
  { required: ["prompt", "completion"] },
  { required: ["text"] },
  { required: ["text", "label"] },
  { required: ["instruction", "output"], optional: ["input", "system", "history"] },
  { required: ["messages"], optional: ["system"] },
  { required: ["conversations"], optional: ["system"] },
  { required: ["prompt", "chosen", "rejected"] },
  { required: ["chosen", "rejected"] },
  { required: ["input", "preferred_output", "non_preferred_output"] },
];

export interface Row {
  /** In the file, from 1. */
  readonly line: number;
  readonly text: string;
  /** Why it cannot be trained on, as the rest of a sentence; null: nothing speaks against it. */
  readonly fault: string | null;
}

export interface RowsPreview {
  /** Those of the beginning of a long file. */
  readonly rows: readonly Row[];
  readonly isWhole: boolean;
  /** Whether the first row is a pair of preferences. */
  readonly isPreferences: boolean;
  /** Of a task's rows, in order. */
  readonly labels: readonly string[];
}

const mostBytes = 2 ** 23;
const mostFields = 6;
export const mostSuffixLength = 64;

/** `task`: what the rows teach, by Hugging Face's name; null: a language model. */
export async function readRows(file: Blob, task: string | null = null): Promise<RowsPreview> {
  const wanted = task === null ? null : taskRowsOf(task);
  const lines = (await file.slice(0, mostBytes).text()).split("\n");
  const isWhole = file.size <= mostBytes;
  // The last line may be a part of a row.
  if (!isWhole) lines.pop();
  const rows = lines.flatMap((text, index) => (text.trim() === "" ? [] : [{ line: index + 1, text }]));
  const read = rows.map((row) => ({ ...row, ...kindOf(row.text, wanted) }));
  const labels = [...new Set(read.flatMap((row) => row.labels))].sort();
  const isPreferences = read.find(({ fault }) => fault === null)?.isPair ?? false;
  return {
    rows: read.map(({ line, text, fault, isPair }) => ({
      ...{ line, text },
      fault: fault ?? (isPair === isPreferences ? null : mixed(isPair)),
    })),
    isWhole,
    isPreferences,
    labels,
  };
}

/** Whether nothing speaks against a job on the rows. */
export const isTrainable = (preview: RowsPreview): boolean =>
  preview.rows.length > 0 && preview.rows.every(({ fault }) => fault === null) && !hasOneLabel(preview);

/** A classifier learns to tell labels apart. */
export const hasOneLabel = ({ labels, isWhole }: RowsPreview): boolean => isWhole && labels.length === 1;

const mixed = (isPair: boolean): string =>
  isPair ? "is a preference pair, and the first row is none" : "is not a preference pair, as the first row is";

interface Kind {
  readonly fault: string | null;
  readonly isPair: boolean;
  readonly labels: readonly string[];
}

/** What is wrong with a row alone, and whether it is a pair of preferences. */
function kindOf(text: string, wanted: TaskRows | null): Kind {
  const fault = (reason: string | null): Kind => ({ fault: reason, isPair: false, labels: [] });
  let row: unknown;
  try {
    row = JSON.parse(text);
  } catch {
    return fault("is not JSON");
  }
  if (typeof row !== "object" || row === null || Array.isArray(row)) return fault("is not a JSON object");
  const fields = Object.entries(row).flatMap(([name, value]) => (value === null ? [] : [name]));
  const named = fields.slice(0, mostFields).join(", ") + (fields.length > mostFields ? ", ..." : "");
  if (wanted) {
    const own = { ...row };
    return { ...fault(taskFaultOf(wanted, own, fields, named)), labels: wanted.labelsOf?.(own) ?? [] };
  }
  const known = fields.filter((name) => forms.some((form) => namesOf(form).includes(name)));
  const form = forms.find(
    (each) =>
      each.required.every((name) => known.includes(name)) && known.every((name) => namesOf(each).includes(name)),
  );
  if (form) return { ...fault(null), isPair: form.required.some((name) => /^rejected|^non_preferred/.test(name)) };
  return fault(fields.length === 0 ? "has no fields" : `has the fields ${named}, which fit none of the forms`);
}

const namesOf = ({ required, optional = [] }: (typeof forms)[number]): readonly string[] => [...required, ...optional];

/** A row as it is read best. */
export function indented(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** A suffix that jobs accept, after the name of a file: letters, digits, `_` and `-`, of which the first is a letter or a digit. */
export const suffixOf = (fileName: string): string =>
  fileName
    .replace(/\.\w+$/, "")
    .replace(/[^\w-]+/g, "-")
    .replace(/^[_-]+/, "")
    .slice(0, mostSuffixLength)
    .replace(/-+$/, "");
