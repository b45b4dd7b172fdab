/** Resolves a table of options: flags override environment variables, which override the config file, which overrides defaults. */

import { nearest } from "../../base/nearest.js";
import { UsageError } from "../usage.js";
import { commonFlag } from "./common-names.js";
import { renamedVariables, successorsOf } from "./former-names.js";
import { environmentName, flagName } from "./names.js";
import { type Option, type OptionTable, type Settings, valueSeparator } from "./option.js";
import { hosts, list, names, networks, origins } from "./units.js";

export interface Sources {
  /** Strings or booleans from the command line, by option name. */
  readonly flags: Readonly<Record<string, unknown>>;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** What the config file holds for all commands, by flag name; {} without a file. */
  readonly file: Readonly<Record<string, unknown>>;
  /** Its section of this command, which wins and may hold keys of this command only. */
  readonly section?: Readonly<Record<string, unknown>>;
  /** For messages. */
  readonly filePath?: string;
  /** Keys of any command: `file` may hold them, and this command skips those of others. Unknown ones are errors. */
  readonly knownKeys?: readonly string[];
  /** Keys that are options, but not here, and the hint that says where. */
  readonly elsewhere?: { readonly keys: readonly string[]; readonly hint: string };
}

interface Found {
  readonly value: unknown;
  readonly where: string;
}

/** Throws one UsageError for all errors. Each says where the value comes from, what it is and what is allowed. */
export function resolveSettings<const Table extends OptionTable>(table: Table, sources: Sources): Settings<Table> {
  const own = Object.keys(table).map(flagName);
  const faults = [
    ...unknownKeys(sources.file, sources.knownKeys ?? own, own, sources),
    ...unknownKeys(sources.section ?? {}, own, own, sources),
    ...renamedVariables(table, sources.environment),
  ];
  const settings: Record<string, unknown> = {};
  for (const [name, option] of Object.entries(table)) {
    const found = lookUp(name, option, sources);
    settings[name] = option.fallback;
    if (!found) continue;
    try {
      settings[name] = option.parse(
        asText(found.value, option.repeats ? valueSeparator : isList(option.parse) ? "," : null),
      );
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      faults.push(`${found.where} ${message}, not ${JSON.stringify(found.value)}.`);
    }
  }
  if (faults.length > 0) throw new UsageError(faults);
  // Every value is now what its own parser returned, or its default.
  return settings as Settings<Table>;
}

/** Throws a UsageError that names every missing option. */
export function requireGiven<const Table extends OptionTable, Name extends keyof Table & string>(
  table: Table,
  settings: Settings<Table>,
  ...names: readonly Name[]
): asserts settings is Settings<Table> & { readonly [K in Name]: NonNullable<Settings<Table>[K]> } {
  const missing = names.filter((name) => settings[name] === null);
  if (missing.length === 0) return;
  const shown = missing.map(
    (name) => `--${flagName(name)} <${table[name]?.placeholder}> (or ${environmentName(name)})`,
  );
  throw new UsageError([`${shown.join(", ")} ${missing.length === 1 ? "is" : "are"} required.`]);
}

function lookUp(name: string, { repeats }: Option<unknown>, sources: Sources): Found | null {
  const key = flagName(name);
  const fromFlag = sources.flags[name];
  if (fromFlag !== undefined) return { value: fromFlag, where: `--${key}` };
  const variable = environmentName(name);
  const fromEnvironment = sources.environment[variable];
  // In compose files and shells an empty variable means "not set".
  if (fromEnvironment !== undefined && fromEnvironment !== "") {
    return {
      value: repeats ? fromEnvironment.split(",").map((word) => word.trim()) : fromEnvironment,
      where: variable,
    };
  }
  const fromFile = keyValue(sources.section ?? {}, key) ?? keyValue(sources.file, key);
  if (fromFile !== null) return { value: fromFile, where: `"${key}" in ${sources.filePath ?? "the file"}` };
  return null;
}

function keyValue(keys: Readonly<Record<string, unknown>>, key: string): unknown {
  return Object.hasOwn(keys, key) ? keys[key] : null;
}

function unknownKeys(
  keys: Readonly<Record<string, unknown>>,
  known: readonly string[],
  own: readonly string[],
  sources: Sources,
): string[] {
  const where = sources.filePath ?? "the file";
  return Object.keys(keys)
    .filter((key) => !known.includes(key))
    .map((key) => {
      const successors = successorsOf(key).map((name) => `"${name}"`);
      if (successors.length > 0) return `"${key}" in ${where} is now ${successors.join(" or ")}.`;
      if (sources.elsewhere?.keys.includes(key)) return `"${key}" in ${where} ${sources.elsewhere.hint}.`;
      const meant = commonFlag(key, own) ?? nearest(key, known);
      const hint = meant === null ? "its keys are the flags of --help without the dashes" : `did you mean "${meant}"?`;
      return `"${key}" in ${where} is not an option: ${hint}${meant === null ? "." : ""}`;
    });
}

const isList = (parse: unknown): boolean =>
  parse === list || parse === names || parse === origins || parse === hosts || parse === networks;

/** A file may hold a list in place of words joined by a separator; null: it may not. */
function asText(value: unknown, separator: string | null): string {
  if (separator !== null && Array.isArray(value)) return value.map((word) => asText(word, null)).join(separator);
  if (typeof value === "string") return value;
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  throw new Error("must be a string, a number or a boolean");
}
