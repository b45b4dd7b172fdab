/** `adapters`: the adapters whose weighted sum answers, in every protocol. */
import * as v from "valibot";
import { isObject } from "../../base/json.js";
import type { RequestBounds } from "../options.js";
import type { WeightedAdapter } from "../requests.js";
import { describe, Found } from "./parse.js";

export const maxWeight = 100;
const maxNameCharacters = 512;

export const isName = (value: unknown): value is string =>
  typeof value === "string" && value.length > 0 && value.length <= maxNameCharacters;

export const isWeight = (value: unknown): value is number => typeof value === "number" && Math.abs(value) <= maxWeight;

/** A schema for a list of `{"name", "weight"}`; a weight is 1 by default. */
export function mixtureField({ maxMixedAdapters }: Pick<RequestBounds, "maxMixedAdapters">) {
  const rule =
    `must be a list of up to ${maxMixedAdapters} {"name":"...","weight":...} objects, ` +
    `with weights from -${maxWeight} to ${maxWeight} and no name twice`;
  return v.optional(
    v.pipe(
      v.unknown(),
      v.rawTransform<unknown, readonly WeightedAdapter[]>(({ dataset, addIssue, NEVER }) => {
        const found = faultOf(dataset.value, maxMixedAdapters);
        if (found === null) return readMixture(dataset.value);
        addIssue({ message: rule, input: found });
        return NEVER;
      }),
    ),
    [],
  );
}

/** What is wrong with a list; null if nothing is. */
function faultOf(value: unknown, max: number): unknown {
  if (!Array.isArray(value) || value.length > max) return new Found(describe(value));
  for (const [index, item] of value.entries()) {
    if (!isObject(item)) return new Found(`${describe(item)} at position ${index}`);
    const { name, weight = null, ...rest } = item;
    if (!isName(name)) return new Found(`${describe(name)} as the name at position ${index}`);
    if (weight !== null && !isWeight(weight))
      return new Found(`${describe(weight)} as the weight at position ${index}`);
    if (Object.keys(rest).length > 0) return new Found(`another field at position ${index}`);
  }
  return repeatedName(value.map(({ name }) => name));
}

/** null if no name occurs twice. */
export function repeatedName(names: readonly unknown[]): Found | null {
  const at = names.findIndex((name, index) => names.indexOf(name) < index);
  return at < 0 ? null : new Found(`the name at position ${at} a second time`);
}

/** Of a list without faults. */
function readMixture(value: unknown): readonly WeightedAdapter[] {
  if (!Array.isArray(value)) return [];
  return value.map(({ name, weight }, index) => ({ name, weight: weight ?? 1, param: `adapters[${index}].name` }));
}
