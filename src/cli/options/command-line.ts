/** Puts a table of options on a commander command, and reads them back with the environment and the configuration file. */

import { type Command, Option as CommandOption } from "commander";
import { readConfigFile } from "./config-file.js";
import { flagName, type OptionTable, type Settings } from "./options.js";
import { resolveSettings } from "./settings.js";

const footer = `
Each option can also be set by an environment variable (LORIKEET_MAX_BATCH for --max-batch) or by a key of the YAML or
JSON file that --config names (max-batch: 8). Flags override environment
variables, which override the file.
Sizes: 1048576, 512M, 2GiB. Times: 500ms, 30s, 5m.`;

/** Adds every option of the table, grouped, each with its default, and --config. */
export function addOptions(command: Command, table: OptionTable): Command {
  for (const [name, option] of Object.entries(table)) {
    const key = flagName(name);
    const value = option.placeholder === undefined ? "" : ` <${option.placeholder}>`;
    const described = `${option.help} (default: ${option.shown})`;
    command.addOption(new CommandOption(`--${key}${value}`, described).helpGroup(`${option.group}:`));
    // commander takes --no-auth for the opposite of --auth, which readOptions undoes.
    if (value === "" && !isNegative(name)) command.addOption(new CommandOption(`--no-${key}`).hideHelp());
  }
  return command
    .option(
      "--config <file>",
      "a YAML (.yaml, .yml) or JSON file of these options (default: none; environment: LORIKEET_CONFIG)",
    )
    .addHelpText("after", footer);
}

/**
 * The settings of a command that `addOptions` prepared. Throws a UsageError.
 * @param knownKeys what one configuration file may hold for all commands; keys of other tables are skipped.
 */
export function readOptions<const Table extends OptionTable>(
  command: Command,
  table: Table,
  environment: Readonly<Record<string, string | undefined>>,
  knownKeys: readonly string[],
): Settings<Table> {
  const flags = flagsOf(command, table);
  const named = flags.config ?? environment.LORIKEET_CONFIG;
  const filePath = typeof named === "string" && named !== "" ? named : null;
  if (filePath === null) return resolveSettings(table, { flags, environment, file: {} });
  return resolveSettings(table, { flags, environment, file: readConfigFile(filePath), filePath, knownKeys });
}

/** What the command line gave, by option name. */
export function flagsOf(command: Command, table: OptionTable): Readonly<Record<string, unknown>> {
  const flags: Record<string, unknown> = command.opts();
  for (const name of Object.keys(table).filter(isNegative)) {
    if (command.getOptionValueSource(positiveOf(name)) === "cli") flags[name] = true;
  }
  return flags;
}

/** `noAuth`, whose flag is `--no-auth`. */
const isNegative = (name: string): boolean => /^no[A-Z]/.test(name);

const positiveOf = (name: string): string => name.charAt(2).toLowerCase() + name.slice(3);
