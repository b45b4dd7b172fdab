/** What a policy does at some recorded transitions, for people to read. */

import { at } from "../../../base/list.js";
import { type Assessment, type ShownAnswer, shownAnswers } from "../assessment.js";
import type { NumberRow } from "../inputs/tensor-inputs.js";
import type { TaskExample } from "../types.js";
import { type JudgedAction, likelihood, rowOf, type ValuedAction } from "./actions.js";

const shownNumbers = 8;

/** The action that a policy of continuous actions takes. */
export const shownContinuous = (output: string): Assessment =>
  shownActions({
    expected: ({ target }) => listed(target as Float32Array),
    answer: (outputs, row) => listed(rowOf(outputs, output, row)),
  });

/** The value of the action taken. */
export const shownValues = (output: string): Assessment =>
  shownActions({
    expected: ({ target }) => named(target as ValuedAction, brief((target as ValuedAction).target)),
    answer: (outputs, row, { target }) => {
      const taken = target as ValuedAction;
      return named(taken, brief(at(rowOf(outputs, output, row), taken.action)));
    },
  });

/** How likely the action taken is, or what it should go on to earn where that alone is known. `critic`: the output of values. */
export const shownChances = (output: string, critic: string | null): Assessment =>
  shownActions({
    expected({ target }) {
      const taken = target as JudgedAction;
      if (taken.advantage === null) return `return ${brief(taken.earned ?? 0)}`;
      return named(taken, taken.advantage > 0 ? "likelier" : "less likely");
    },
    answer(outputs, row, { target }) {
      const taken = target as JudgedAction;
      if (taken.advantage === null && critic !== null) return `return ${brief(at(rowOf(outputs, critic, row), 0))}`;
      const chance = likelihood(rowOf(outputs, output, row), taken.action);
      return named(taken, `${(100 * chance).toFixed(0)} % likely`);
    },
  });

/** An observation's numbers, the first of many. */
export function describeObservation({ source }: TaskExample): string {
  const inputs = [...(source as NumberRow)];
  const shown = inputs.map(([name, { data }]) => (inputs.length === 1 ? listed(data) : `${name} ${listed(data)}`));
  return shown.join("; ");
}

const shownActions = (shown: Omit<ShownAnswer, "describe">): Assessment =>
  shownAnswers({ describe: describeObservation, ...shown });

const named = ({ action }: { readonly action: number }, what: string): string => `action ${action}: ${what}`;

const brief = (value: number): string => String(Number(value.toPrecision(3)));

function listed(values: Float32Array): string {
  const shown = Array.from(values.subarray(0, shownNumbers), brief).join(", ");
  return values.length > shownNumbers ? `${shown}, ...` : shown;
}
