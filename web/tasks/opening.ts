/** Which form Tasks begins with, whatever is served. */
import { similarity } from "../client/tasks.js";

export interface Form {
  readonly base: string;
  readonly task: string;
  /** The models that do it. */
  readonly names: readonly string[];
}

/** The first one where a base and its adapters answer differently: a form whose base does the task too. Else the first of all. */
export const openingOf = (forms: readonly Form[]): Form | undefined =>
  forms.find(({ base, task, names }) => task !== similarity && names.includes(base) && names.length > 1) ?? forms[0];
