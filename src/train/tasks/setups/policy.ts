/** Policies, from recorded transitions. */

import { type Fields, RowFault, shown } from "../../data/rows.js";
import { NumberReader, numberInputs } from "../inputs/tensor-inputs.js";
import { classification } from "../objectives/classification.js";
import { actionRegression } from "../objectives/policy.js";
import type { RowReader } from "../task-data.js";
import { chooseOutput, type SetupParts, type TaskSetup, widthOf } from "./setup.js";

const observation = [0.1, 0, 0.2, 0];

export function policy({ graph }: SetupParts): TaskSetup {
  const output = chooseOutput(graph, ["logits", "q_values", "action"]);
  const width = widthOf(graph, output);
  const numbers = new NumberReader(graph);
  const reader: RowReader = {
    kind: "transition",
    forms: [{ required: ["observation", "action"], example: { observation, action: 1 } }],
    async read(fields, place) {
      return {
        source: numbers.read(fields.observation, "observation"),
        target: actionOf(fields, width),
        size: 1,
        place,
      };
    },
  };
  return {
    reader,
    inputs: numberInputs(graph),
    savesHeads: true,
    objective({ train }) {
      const isContinuous = train[0]?.target instanceof Float32Array;
      const actions = Array.from({ length: width }, (_, action) => String(action));
      const objective = isContinuous ? actionRegression(output) : classification(actions, output);
      return { objective, labels: null, headWidth: null };
    },
  };
}

/** The number of an action, or the values of a continuous one. Throws RowFault. */
function actionOf({ action }: Fields, width: number): string | Float32Array {
  if (typeof action === "number" && Number.isInteger(action) && action >= 0 && action < width) return String(action);
  const values: readonly unknown[] = Array.isArray(action) ? action : [];
  if (values.length === width && values.every((value) => typeof value === "number" && Number.isFinite(value))) {
    return Float32Array.from(values as readonly number[]);
  }
  throw new RowFault(
    `must have a whole number from 0 to ${width - 1} or a list of ${width} numbers as \`action\`, not ${shown(action)}`,
  );
}
