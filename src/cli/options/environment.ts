/** Notices variables that begin like ours and are none: a misspelled one would be ignored without a word. */

import { secretVariables } from "../serve/api-keys.js";
import { nearest } from "./nearest.js";
import { environmentName } from "./options.js";

/** What Kubernetes sets for a Service with the name `lorikeet`. */
const ofKubernetes = /^LORIKEET_(SERVICE_(HOST|PORT)|PORT(_\d+_(TCP|UDP|SCTP))?)(_|$)/;
const prefix = "LORIKEET_";
const others: readonly string[] = ["LORIKEET_CONFIG", ...secretVariables];

/** One line for each variable that no command reads. `names` are options of all commands, by their names in the tables. */
export function strangeVariables(
  environment: Readonly<Record<string, string | undefined>>,
  names: readonly string[],
): string[] {
  const known = new Set([...names.map(environmentName), ...others]);
  return Object.keys(environment)
    .filter((name) => name.startsWith(prefix) && !known.has(name) && !ofKubernetes.test(name))
    .map((name) => {
      const meant = nearest(
        name.slice(prefix.length),
        [...known].map((other) => other.slice(prefix.length)),
      );
      const hint = meant === null ? "no command reads it" : `did you mean ${prefix}${meant}?`;
      return `${name} is not an option: ${hint}`;
    });
}
