/** The version of this package. */

import { readFileSync } from "node:fs";

/** From package.json. Compiled code lies one folder deeper than the sources. */
export function readVersion(): string {
  for (const up of ["../../package.json", "../../../package.json"]) {
    try {
      const content: unknown = JSON.parse(readFileSync(new URL(up, import.meta.url), "utf8"));
      if (typeof content === "object" && content !== null && "version" in content) return String(content.version);
    } catch {
      // Not at this depth.
    }
  }
  return "unknown";
}
