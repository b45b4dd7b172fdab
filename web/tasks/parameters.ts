/** What is asked under Tasks, and how an address holds it. */

export interface Settings {
  /** null: the first base that has a form. */
  readonly base: string | null;
  /** null: the base's first one. */
  readonly task: string | null;
  /** What is asked beside the base, or the base alone. null: nobody has chosen yet. */
  readonly model: string | null;
  readonly text: string;
  /** The second text of a pair. */
  readonly other: string;
  /** The place of a picture's example in the model's card; null: none, or a picture that no address can hold. */
  readonly example: number | null;
  /** Whether CartPole's motors push the other way. */
  readonly isReversed: boolean;
}

export const defaults: Settings = {
  ...{ base: null, task: null, model: null },
  ...{ text: "", other: "", example: null, isReversed: false },
};

export function toParameters(settings: Settings): URLSearchParams {
  const { base, task, model, text, other, example, isReversed } = settings;
  const parameters = new URLSearchParams();
  const named = { base, task, model, example, text: text || null, other: other || null };
  for (const [name, value] of Object.entries(named)) if (value !== null) parameters.set(name, String(value));
  if (isReversed) parameters.set("reversed", "1");
  return parameters;
}

export function fromParameters(parameters: URLSearchParams): Settings {
  const example = parameters.get("example");
  return {
    ...{ base: parameters.get("base"), task: parameters.get("task"), model: parameters.get("model") },
    ...{ text: parameters.get("text") ?? "", other: parameters.get("other") ?? "" },
    example: example !== null && /^\d{1,6}$/.test(example) ? Number(example) : null,
    isReversed: parameters.get("reversed") === "1",
  };
}

/** The base and the adapter beside it. The base is asked where it does the task itself. `names`: the models that do it. */
export const askedOf = (base: string, model: string, names: readonly string[]): readonly string[] =>
  model === base || !names.includes(base) ? [model] : [base, model];
