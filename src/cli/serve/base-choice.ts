/** Which of several bases an adapter belongs to: the ones that its config names, and what is said where no base or several fit. */

import { hasCode, LorikeetError } from "../../base/errors.js";

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
  hasCode(error, "adapter_invalid", "adapter_unsupported");

/** A base that an adapter does not fit, and why. */
export interface Misfit {
  readonly name: string;
  readonly error: LorikeetError;
}

/**
 * The refusal with the fewest faults, and whose it is. Where all bases say the same, such as that a file is missing, the fault is not a base's.
 */
export function nearestMisfit(misfits: readonly [Misfit, ...Misfit[]]): LorikeetError {
  const [{ error: first }] = misfits;
  if (misfits.every(({ error }) => error.message === first.message)) return first;
  const faultsOf = ({ error }: Misfit): number => (typeof error.found === "number" ? error.found : 0);
  const { name, error } = misfits.reduce((nearest, each) => (faultsOf(each) < faultsOf(nearest) ? each : nearest));
  const bases = quoted(misfits.map((each) => each.name));
  return followed(error, `It fits none of the bases ${bases}; "${name}" is the nearest.`);
}

/** The refusal by the base that was chosen, where other served bases take the adapter. */
export function fitsOthers(error: LorikeetError, names: readonly string[]): LorikeetError {
  const choice = names.length === 1 ? "choose that base" : "choose one of these bases";
  return followed(error, `It fits ${quoted(names)}; ${choice}.`);
}

function followed(error: LorikeetError, sentence: string): LorikeetError {
  const { code, message, found, allowed, faults } = error;
  return new LorikeetError(code, `${message} ${sentence}`, { found, allowed, faults, cause: error });
}

/** `unserved`: the base that the adapter's config names, if this server does not have it. */
export function ambiguousBase(names: readonly string[], unserved: string | null): LorikeetError {
  const own = unserved ? ` Its config names ${JSON.stringify(unserved.slice(0, 200))}, which is not served.` : "";
  const message = `The adapter fits several bases: ${quoted(names)}.${own} Name its base with ?base=, or as base_model_name_or_path in adapter_config.json.`;
  return new LorikeetError("adapter_invalid", message, { param: "base", found: names, allowed: "one base" });
}

const quoted = (names: readonly string[]): string => names.map((name) => `"${name}"`).join(", ");
