/** The rule for an adapter's name. Knows nothing of folders: paths on disk come from digests, never from names. */

import { LorikeetError } from "../base/errors.js";

const part = "[A-Za-z0-9][A-Za-z0-9._-]{0,95}";
const pattern = new RegExp(`^${part}(/${part})?$`);

/** What two names must not share: names are unique without regard to case. */
export function nameKey(name: string): string {
  return name.toLowerCase();
}

/** The fault of a name, or null. `reserved` holds the base's name and its aliases. Codes: `invalid_name`. */
export function nameFault(name: string, reserved: readonly string[] = []): LorikeetError | null {
  if (!pattern.test(name)) {
    const shown = name.length > 200 ? `${name.slice(0, 200)}...` : name;
    return new LorikeetError(
      "invalid_name",
      `The adapter name ${JSON.stringify(shown)} is not allowed: a name is one part, or two joined by a slash, each of 1 to 96 letters, digits, dots, underscores and hyphens that starts with a letter or a digit.`,
      { param: "name", found: shown, allowed: pattern.source },
    );
  }
  const taken = reserved.find((other) => nameKey(other) === nameKey(name));
  if (taken === undefined) return null;
  return new LorikeetError(
    "invalid_name",
    `The adapter name "${name}" is not allowed: "${taken}" is the base model's name or one of its aliases.`,
    { param: "name", found: name, allowed: "a name that is not the base model's" },
  );
}

/** Throws LorikeetError `invalid_name` unless the name may be given to an adapter. */
export function checkName(name: string, reserved: readonly string[] = []): void {
  const fault = nameFault(name, reserved);
  if (fault) throw fault;
}
