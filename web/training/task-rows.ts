/** The rows that each task is trained on, and what is wrong with one, as far as a file alone tells. */

type Fields = Readonly<Record<string, unknown>>;

export interface TaskRows {
  /** What an adapter learns, to choose among. */
  readonly aim: string;
  /** What a row is. */
  readonly about: string;
  readonly sample: Fields;
  /** Lists of fields: a row has all those of one list. */
  readonly forms: readonly (readonly string[])[];
  /** Why the values cannot be trained on, as the rest of a sentence; null: they can. */
  faultOf(fields: Fields): string | null;
  /** The labels of a row, if rows have some. */
  labelsOf?(fields: Fields): readonly string[];
}

const texts: TaskRows = {
  aim: "answers texts with texts",
  about: "A row is a text with its translation or answer; languages may be named by src_lang and tgt_lang.",
  sample: { source: "Where is it?", target: "Wo ist es?" },
  forms: [["source", "target"]],
  faultOf: textFaultOf("source", "target"),
};

const byTask: Readonly<Record<string, TaskRows>> = {
  "text-classification": {
    aim: "classifies texts",
    about:
      "A row is a text (perhaps with text_pair) and its label, which may be one of your own. For a base that gives several labels at once, write labels, a list; for a base with one label, a score from 0 to 1.",
    sample: { text: "A fine film.", label: "good" },
    forms: [
      ["text", "label"],
      ["text", "labels"],
      ["text", "score"],
    ],
    faultOf(fields) {
      const { label, labels } = fields;
      if (label !== undefined && !isLabel(label)) return "has a label that is neither a text nor a number";
      if (labels !== undefined && !(Array.isArray(labels) && labels.every(isLabel)))
        return "has labels that are not a list";
      return textFaultOf("text")(fields);
    },
    labelsOf: ({ label, labels }) => [label, labels].flat().filter(isLabel).map(String),
  },
  "token-classification": {
    aim: "tags the words of texts",
    about: "A row is the words of a text and a tag for each; tags may be your own.",
    sample: { tokens: ["Ada", "lived", "in", "London"], tags: ["B-PER", "O", "O", "B-LOC"] },
    forms: [["tokens", "tags"]],
    faultOf({ tokens, tags }) {
      if (!isWords(tokens)) return "has tokens that are not a list of words";
      if (!isWords(tags)) return "has tags that are not a list of texts";
      return tokens.length === tags.length ? null : `has ${tokens.length} tokens and ${tags.length} tags`;
    },
    labelsOf: ({ tags }) => (isWords(tags) ? tags : []),
  },
  "feature-extraction": {
    aim: "gives similar texts similar vectors",
    about:
      "A row is a text (anchor) with one that means the same (positive) and perhaps one that does not (negative); or two texts (text, text_pair) and how similar they are (score, from -1 to 1).",
    sample: { anchor: "a fine film", positive: "what a good movie", negative: "a dull film" },
    forms: [
      ["anchor", "positive"],
      ["text", "text_pair", "score"],
    ],
    faultOf: (fields) =>
      "anchor" in fields
        ? textFaultOf("anchor", "positive", ...(fields.negative == null ? [] : ["negative"]))(fields)
        : textFaultOf("text", "text_pair")(fields),
  },
  translation: texts,
  "text2text-generation": texts,
  "reinforcement-learning": {
    aim: "chooses actions, as a policy",
    about:
      "A row is a transition: what the policy saw and the action to learn, or what came of it as target, advantage or return. Every row counts the same.",
    sample: { observation: [0.1, 0, 0.2, 0], action: 1 },
    forms: [["observation", "action"]],
    faultOf({ observation, action }) {
      if (!isNumbers(observation)) return "has an observation that is not all numbers";
      return isNumbers(action) ? null : "has an action that is neither a number nor a list of numbers";
    },
  },
};

/** What a row is for a task; null: rows are texts of a language model. */
export const taskRowsOf = (task: string): TaskRows | null =>
  Object.hasOwn(byTask, task) ? (byTask[task] ?? null) : null;

/** What is wrong with a row alone. `fields`: the names of those that hold something. */
export function taskFaultOf(rows: TaskRows, row: Fields, fields: readonly string[], shown: string): string | null {
  if (fields.length === 0) return "has no fields";
  if (rows.forms.some((form) => form.every((name) => fields.includes(name)))) return rows.faultOf(row);
  return `has the fields ${shown}, not ${rows.forms.map((form) => form.join(" and ")).join(", or ")}`;
}

const isText = (value: unknown): value is string => typeof value === "string" && value.trim() !== "";
const isLabel = (value: unknown): boolean => isText(value) || typeof value === "number" || typeof value === "boolean";
const isWords = (value: unknown): value is readonly string[] =>
  Array.isArray(value) && value.length > 0 && value.every(isText);

function textFaultOf(...names: readonly string[]): (fields: Fields) => string | null {
  return (fields) => {
    const wrong = names.find((name) => !isText(fields[name]));
    return wrong === undefined ? null : `has no text in ${wrong}`;
  };
}

/** Numbers at any depth of lists, or by the names of inputs. */
function isNumbers(value: unknown): boolean {
  if (typeof value === "number") return Number.isFinite(value);
  return (
    typeof value === "object" &&
    value !== null &&
    Object.values(value).length > 0 &&
    Object.values(value).every(isNumbers)
  );
}
