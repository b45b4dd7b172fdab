/** LoRAX's way to name several adapters: lists of ids and weights, and how to merge them. */
import * as v from "valibot";
import { isObject } from "../../base/json.js";
import { isName, isWeight, maxWeight, repeatedName } from "../body/mixture-field.js";
import { describe, describeWord, Found, shorten } from "../body/parse.js";
import type { RequestBounds } from "../options.js";
import type { WeightedAdapter } from "../requests.js";

/** The rule that a value breaks, and what was found. */
interface Wrong {
  readonly rule: string;
  readonly found: unknown;
}

/** What only other strategies than `linear` read. */
const ofOtherStrategies = ["density", "majority_sign_method"];

/** A schema for an object of `idsName`, `weights` and `merge_strategy`, of which only `linear` is exact. */
export function mergeField({ maxMixedAdapters }: RequestBounds, idsName: "ids" | "adapter_ids") {
  return v.optional(
    v.pipe(
      v.unknown(),
      v.rawTransform<unknown, readonly WeightedAdapter[]>(({ dataset, addIssue, NEVER }) => {
        const merged = readMerge(dataset.value, idsName, maxMixedAdapters);
        if (!("rule" in merged)) return merged;
        addIssue({ message: merged.rule, input: merged.found });
        return NEVER;
      }),
    ),
  );
}

function readMerge(value: unknown, idsName: string, max: number): readonly WeightedAdapter[] | Wrong {
  if (!isObject(value)) return { rule: `must be an object of \`${idsName}\` and \`weights\``, found: value };
  const { [idsName]: ids, weights = null, merge_strategy: strategy = null, ...rest } = value;
  const unknown = Object.keys(rest).find((key) => !ofOtherStrategies.includes(key));
  if (unknown !== undefined) {
    return { rule: `has the field \`${shorten(unknown)}\`, which is not supported`, found: rest[unknown] };
  }
  if (strategy !== null && strategy !== "linear") {
    const rule = 'must have "linear" as its `merge_strategy`: the others are not exact';
    return { rule, found: new Found(describeWord(strategy)) };
  }
  if (!Array.isArray(ids) || ids.length === 0 || ids.length > max || !ids.every(isName)) {
    return { rule: `must have 1 to ${max} names as \`${idsName}\``, found: ids };
  }
  const repeated = repeatedName(ids);
  if (repeated) return { rule: `must not have a name twice in \`${idsName}\``, found: repeated };
  const given = Array.isArray(weights) && weights.length === 0 ? null : weights;
  if (given === null) return ids.map((name) => ({ name, weight: 1, param: idsName }));
  if (!Array.isArray(given) || given.length !== ids.length || !given.every(isWeight)) {
    const rule = `must have ${ids.length} numbers from -${maxWeight} to ${maxWeight} as \`weights\`, one for each name`;
    return { rule, found: new Found(describe(given)) };
  }
  return ids.map((name, index) => ({ name, weight: Number(given[index]), param: idsName }));
}
