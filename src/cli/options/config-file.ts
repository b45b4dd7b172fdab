/** Reads a config file: a mapping of option names to values, in YAML (.yaml, .yml) or JSON, with a section for any command. */

import { readFileSync } from "node:fs";
import { extname } from "node:path";
import { parse } from "yaml";
import { isObject } from "../../base/json.js";
import { jsonBreak } from "../../base/json-break.js";
import { UsageError } from "../usage.js";

/** Throws a UsageError for a file that is missing or is not a mapping. */
export function readConfigFile(path: string): Readonly<Record<string, unknown>> {
  const content = contentOf(path);
  const isYaml = [".yaml", ".yml"].includes(extname(path).toLowerCase());
  let value: unknown;
  try {
    value = isYaml ? parse(content, { logLevel: "error" }) : JSON.parse(content);
  } catch (error) {
    // YAML appends the lines around the error.
    const [reason = ""] = isYaml
      ? (error instanceof Error ? error.message : String(error)).split(":\n")
      : [`${jsonBreak(content)}`];
    throw new UsageError([`The config file ${path} is not ${isYaml ? "YAML" : "JSON"}: ${reason}.`]);
  }
  if (isYaml && value === null) return {}; // only comments
  if (isObject(value)) return value;
  throw new UsageError([`The config file ${path} must hold one ${isYaml ? "mapping" : "JSON object"}.`]);
}

export interface ConfigKeys {
  /** For every command that knows them. */
  readonly shared: Readonly<Record<string, unknown>>;
  /** For the one command. */
  readonly section: Readonly<Record<string, unknown>>;
}

/** The file's keys for a command; `commands` may have sections. Throws a UsageError for a section that is not a mapping. */
export function splitSections(
  file: Readonly<Record<string, unknown>>,
  command: string,
  commands: readonly string[],
  path: string,
): ConfigKeys {
  const isSection = (key: string): boolean => commands.includes(key);
  for (const key of Object.keys(file).filter(isSection)) {
    if (file[key] === null || isObject(file[key])) continue;
    throw new UsageError([`"${key}" in ${path} is the section of a command: it must hold that command's options.`]);
  }
  const own = Object.hasOwn(file, command) ? file[command] : null;
  return {
    shared: Object.fromEntries(Object.entries(file).filter(([key]) => !isSection(key))),
    section: isObject(own) ? own : {},
  };
}

function contentOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "unknown error";
    throw new UsageError([`The config file ${path} cannot be read (${code}).`]);
  }
}
