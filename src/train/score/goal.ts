/** Which labels a decoder's classification head is trained for, and where its values begin. */

import { LorikeetError } from "../../base/errors.js";
import type { OpenedHead } from "../files/adapter-files.js";
import { chooseLabels, requireSeveral } from "../tasks/labels.js";
import { classification } from "../tasks/objectives/classification.js";
import type { TaskData } from "../tasks/task-data.js";
import type { TaskObjective } from "../tasks/types.js";

/** The output that has the scores, here and as served. */
export const scoresName = "logits";

export interface ScoreGoal {
  readonly objective: TaskObjective<string>;
  /** As the rows have them, by output. */
  readonly labels: readonly string[];
  /** What the outputs are called. */
  readonly names: readonly string[];
  /** Whether the layer begins with random values, not with those of the base or of the adapter to continue. */
  readonly isFresh: boolean;
}

/** Those of the rows. */
export const labelsOf = ({ train, valid, test }: TaskData): string[] =>
  [...train, ...valid, ...test].map(({ target }) => String(target));

/** `given`: of `--labels`. `known`: the layer of the base or of the adapter; null: there is none. Throws `data_invalid` and `invalid_value`. */
export function scoreGoal(data: TaskData, given: readonly string[] | null, known: OpenedHead | null): ScoreGoal {
  const found = labelsOf(data);
  if (given === null && known === null) throw noLabels([...new Set(found)].sort());
  const base = known?.labels ?? null;
  const { labels, isFresh } = chooseLabels({ given, base, width: known?.outFeatures ?? 0, found });
  requireSeveral(labels);
  return { objective: classification(labels, scoresName), labels, names: given ?? base ?? labels, isFresh };
}

function noLabels(found: readonly string[]): LorikeetError {
  const message = `The model has no labels: --labels names those of the new layer, for example --labels ${found.slice(0, 20).join()}.`;
  return new LorikeetError("invalid_value", message, { param: "--labels", found: null, allowed: found });
}
