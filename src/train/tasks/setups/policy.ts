/** Policies, from recorded transitions. */

import { LorikeetError } from "../../../base/errors.js";
import { type Fields, isFloat, RowFault, shown } from "../../data/rows.js";
import type { Assessment } from "../assessment.js";
import { NumberReader, numberInputs } from "../inputs/tensor-inputs.js";
import { actionValues, advantages, type JudgedAction, type ValuedAction } from "../objectives/actions.js";
import { classification, shownLabels } from "../objectives/classification.js";
import { actionRegression } from "../objectives/policy.js";
import { describeObservation, shownChances, shownContinuous, shownValues } from "../objectives/shown-actions.js";
import type { RowReader } from "../task-data.js";
import type { TaskObjective } from "../types.js";
import { chooseOutput, type SetupParts, type TaskSetup, widthOf } from "./setup.js";

/** What a row teaches. All rows of a run teach in the same way. */
type Lesson =
  | { readonly kind: "imitated"; readonly target: string }
  | { readonly kind: "continuous"; readonly target: Float32Array }
  | { readonly kind: "valued"; readonly target: ValuedAction }
  | { readonly kind: "judged"; readonly target: JudgedAction };

const fieldsOf: Readonly<Record<Lesson["kind"], string>> = {
  imitated: "a number as `action` alone",
  continuous: "a list as `action`",
  valued: "`target`",
  judged: "`advantage` or `return`",
};

const example = { observation: [0.1, 0, 0.2, 0], action: 1 };

export function policy({ graph }: SetupParts): TaskSetup {
  const output = chooseOutput(graph, ["logits", "q_values", "action"]);
  const critic = graph.outputs.find(({ name }) => name === "value")?.name ?? null;
  const width = widthOf(graph, output);
  const numbers = new NumberReader(graph);
  let kind: Lesson["kind"] | null = null;
  let hasProbability: boolean | null = null;
  const reader: RowReader = {
    kind: "transition",
    forms: [
      { required: ["observation", "action"], example },
      { required: ["observation", "action", "target"], example: { ...example, target: 0.7 } },
      {
        required: ["observation", "action", "advantage"],
        optional: ["return", "probability"],
        example: { ...example, advantage: 0.3 },
      },
      {
        required: ["observation", "action", "return"],
        optional: ["probability"],
        example: { ...example, return: 12 },
      },
    ],
    async read(fields, place) {
      const source = numbers.read(fields.observation, "observation");
      const lesson = lessonOf(fields, width);
      kind ??= lesson.kind;
      if (lesson.kind !== kind) {
        throw new RowFault(`has ${fieldsOf[lesson.kind]}, where rows before it have ${fieldsOf[kind]}`);
      }
      const isWeighed = lesson.kind === "judged" && lesson.target.probability !== null;
      hasProbability ??= isWeighed;
      if (isWeighed !== hasProbability) {
        const [has, have] = isWeighed ? ["has", "lack"] : ["lacks", "have"];
        throw new RowFault(`${has} \`probability\`, which rows before it ${have}`);
      }
      if (lesson.kind === "judged" && lesson.target.advantage === null && critic === null) {
        throw new RowFault("has `return` without `advantage`, which trains an output `value`; the model has none");
      }
      return { source, target: lesson.target, size: 1, place };
    },
  };
  return {
    reader,
    inputs: numberInputs(graph),
    savesHeads: true,
    objective({ train, valid, test }) {
      const rows = [...train, ...valid, ...test];
      const isEarned = rows.some(({ target }) => (target as Partial<JudgedAction>).earned != null);
      const actions = Array.from({ length: width }, (_, action) => String(action));
      const judge = isEarned ? critic : null;
      const lessons: Readonly<Record<Lesson["kind"], () => [TaskObjective<never>, Assessment]>> = {
        imitated: () => [classification(actions, output), shownLabels(actions, output, describeObservation)],
        continuous: () => [actionRegression(output), shownContinuous(output)],
        valued: () => [actionValues(output), shownValues(output)],
        judged: () => [advantages(output, judge), shownChances(output, judge)],
      };
      if (kind === null) throw new LorikeetError("data_invalid", "The data has no transition.", { param: "--data" });
      const [objective, assessment] = lessons[kind]();
      return { objective: objective as TaskObjective<unknown>, assessment, labels: null, freshHead: null };
    },
  };
}

/** With a smaller one, a single row could be nearly the whole mean. */
const leastProbability = 1e-6;

/** Throws RowFault. */
function lessonOf(fields: Fields, width: number): Lesson {
  const action = actionOf(fields, width);
  const target = numberOf(fields, "target");
  const advantage = numberOf(fields, "advantage");
  const earned = numberOf(fields, "return");
  const probability = numberOf(fields, "probability");
  if (probability !== null && (probability < leastProbability || probability > 1)) {
    throw new RowFault(`must have a number from ${leastProbability} to 1 as \`probability\`, not ${probability}`);
  }
  const isJudged = advantage !== null || earned !== null;
  if (action instanceof Float32Array) {
    if (target === null && !isJudged) return { kind: "continuous", target: action };
    throw new RowFault(
      "has a list as `action`, which can only be imitated; `target`, `advantage` and `return` need a number",
    );
  }
  if (target !== null && isJudged)
    throw new RowFault("has `target` and also `advantage` or `return`; one of both is allowed");
  if (target !== null) return { kind: "valued", target: { action, target } };
  if (isJudged) return { kind: "judged", target: { action, advantage, earned, probability } };
  return { kind: "imitated", target: String(action) };
}

/** null: the row does not have it. Throws RowFault. */
function numberOf(fields: Fields, name: string): number | null {
  const value: unknown = fields[name];
  if (value === undefined || value === null) return null;
  if (isFloat(value)) return value;
  throw new RowFault(`must have a number that float32 holds as \`${name}\`, not ${shown(value)}`);
}

/** The number of an action, or the values of a continuous one. Throws RowFault. */
function actionOf({ action }: Fields, width: number): number | Float32Array {
  if (typeof action === "number" && Number.isInteger(action) && action >= 0 && action < width) return action;
  const values: readonly unknown[] = Array.isArray(action) ? action : [];
  if (values.length === width && values.every(isFloat)) return Float32Array.from(values);
  const wrong = values.length === width ? values.findIndex((value) => !isFloat(value)) : -1;
  if (wrong >= 0) {
    throw new RowFault(
      `must have numbers that float32 holds in \`action\`, not ${shown(values[wrong])} as number ${wrong + 1}`,
    );
  }
  throw new RowFault(
    `must have a whole number from 0 to ${width - 1} or a list of ${width} numbers as \`action\`, not ${shown(action)}`,
  );
}
