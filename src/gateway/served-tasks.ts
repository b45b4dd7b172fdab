/** What models are for, by Hugging Face's names of tasks: a base, and each of its adapters, which may bring a classification head. */
import type { AdapterRecord } from "../adapter/types.js";

export const generation = "text-generation";
const classification = "text-classification";
const ofVectors = ["feature-extraction", "sentence-similarity"] as const;

/** What is to be known of a model that takes rows. */
interface Rows {
  readonly task: string;
  /** null: it takes no texts. */
  readonly tokenizer: object | null;
  /** `pooling`: how the states of tokens become one vector, or why they cannot. */
  readonly head: { readonly pooling: readonly string[] | { readonly refusal: string } };
}

/** A model that takes rows. */
export function tasksOfRows({ task, ...rows }: Rows): string[] {
  return task === "feature-extraction" && hasVectors(rows) ? [...ofVectors] : [task];
}

/** A decoder. `rows`: the same model as one that takes rows; null if it does not. */
export function tasksOfDecoder(rows: Rows | null, generates: boolean): string[] {
  const first = generates ? generation : rows?.task;
  return [...(first === undefined ? [] : [first]), ...(rows && hasVectors(rows) ? ofVectors : [])];
}

/** An adapter serves its base's tasks, but one that classifies texts was not trained to write any. */
export function tasksOfAdapter(ofBase: readonly string[], { labels }: Pick<AdapterRecord, "labels">): string[] {
  if (labels === undefined || !ofBase.includes(generation)) return [...ofBase];
  return [classification, ...ofBase.filter((task) => task !== generation)];
}

const hasVectors = ({ head, tokenizer }: Omit<Rows, "task">): boolean =>
  tokenizer !== null && !("refusal" in head.pooling);
