/** Which of several bases an adapter belongs to: the ones that its config names, and what is said where no base or several fit. */

import { LorikeetError } from "../../base/errors.js";

interface Named {
  /** The served name. */
  readonly name: string;
  readonly base: { readonly names: readonly string[] };
}

/** The bases with the name that an adapter's config gives to its base; by the last segment where no whole name is equal. */
export function namedBy<Base extends Named>(baseName: string | null, bases: readonly Base[]): readonly Base[] {
  if (baseName === null || baseName === "") return [];
  const having = (spelled: (name: string) => string): Base[] =>
    bases.filter(({ name, base }) => [name, ...base.names].some((own) => spelled(own) === spelled(baseName)));
  const whole = having((name) => name);
  return whole.length > 0 ? whole : having(lastSegment);
}

const lastSegment = (name: string): string => /[^/\\]*$/.exec(name.replace(/[/\\]+$/, ""))?.[0].toLowerCase() ?? "";

/** Whether a check's error is about the adapter and the base, not about this process. */
export const isMisfit = (error: unknown): error is LorikeetError =>
  error instanceof LorikeetError && (error.code === "adapter_invalid" || error.code === "adapter_unsupported");

/** The refusal with the fewest faults. */
export function nearestMisfit(misfits: readonly unknown[]): unknown {
  const faultsOf = (error: unknown): number =>
    isMisfit(error) && typeof error.found === "number" ? error.found : Number.POSITIVE_INFINITY;
  return misfits.reduce((nearest, error) => (faultsOf(error) < faultsOf(nearest) ? error : nearest));
}

export function ambiguousBase(names: readonly string[]): LorikeetError {
  const message = `The adapter fits several bases: ${quoted(names)}. Name its base with ?base=, or as base_model_name_or_path in adapter_config.json.`;
  return new LorikeetError("adapter_invalid", message, { param: "base", found: names, allowed: "one base" });
}

export function unknownBase(asked: string, names: readonly string[]): LorikeetError {
  const message = `\`base\` is ${JSON.stringify(asked.slice(0, 200))}; the bases are ${quoted(names)}.`;
  return new LorikeetError("invalid_value", message, { param: "base", found: asked, allowed: names });
}

const quoted = (names: readonly string[]): string => names.map((name) => `"${name}"`).join(", ");
