/** Finds environment variables that start with LORIKEET_ but that no command reads, such as misspelled ones. */

import { nearest } from "../../base/nearest.js";
import { libraryVariable } from "../../runtime/ort-library.js";
import { secretVariables } from "../serve/api-keys.js";
import { formerNames } from "./former-names.js";
import { environmentName } from "./names.js";

/** Kubernetes sets these for a Service named `lorikeet`. */
const ofKubernetes = /^LORIKEET_(SERVICE_(HOST|PORT)|PORT(_\d+_(TCP|UDP|SCTP))?)(_|$)/;
const prefix = "LORIKEET_";
const former = new Set(Object.keys(formerNames).map(environmentName));
const others: readonly string[] = ["LORIKEET_CONFIG", libraryVariable, ...secretVariables];

/**
 * One line for each variable that no command reads. `names` are the options of all commands, as in the tables or as keys. Former
 * names are left to the commands that used to read them, which refuse them.
 */
export function strangeVariables(
  environment: Readonly<Record<string, string | undefined>>,
  names: readonly string[],
): string[] {
  const known = new Set([...names.map(environmentName), ...others]);
  return Object.keys(environment)
    .filter((name) => name.startsWith(prefix) && !known.has(name) && !former.has(name) && !ofKubernetes.test(name))
    .map((name) => {
      const meant = nearest(
        name.slice(prefix.length),
        [...known].map((other) => other.slice(prefix.length)),
      );
      const hint = meant === null ? "no command reads it" : `did you mean ${prefix}${meant}?`;
      return `${name} is not an option: ${hint}`;
    });
}
