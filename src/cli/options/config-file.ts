/** A configuration file: one flat mapping of option names to values, in JSON or, by its ending, in YAML. Knows no option. */

import { readFileSync } from "node:fs";
import { extname } from "node:path";
import { parse } from "yaml";
import { isObject } from "../../base/json.js";
import { jsonBreak } from "../../base/json-break.js";
import { UsageError } from "../usage.js";

/** The mapping that a file holds: YAML in `.yaml` and `.yml`, else JSON. Throws a UsageError. */
export function readConfigFile(path: string): Readonly<Record<string, unknown>> {
  const content = contentOf(path);
  const isYaml = [".yaml", ".yml"].includes(extname(path).toLowerCase());
  let value: unknown;
  try {
    value = isYaml ? parse(content, { logLevel: "error" }) : JSON.parse(content);
  } catch (error) {
    // YAML's messages go on with the lines around the fault.
    const [reason = ""] = isYaml
      ? (error instanceof Error ? error.message : String(error)).split(":\n")
      : [`${jsonBreak(content)}`];
    throw new UsageError([`The configuration file ${path} is not ${isYaml ? "YAML" : "JSON"}: ${reason}.`]);
  }
  if (isYaml && value === null) return {}; // nothing but comments
  if (isObject(value)) return value;
  throw new UsageError([`The configuration file ${path} must hold one ${isYaml ? "mapping" : "JSON object"}.`]);
}

function contentOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "unknown error";
    throw new UsageError([`The configuration file ${path} cannot be read (${code}).`]);
  }
}
