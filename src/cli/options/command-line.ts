/** Adds a table of options to a commander command, and reads their values from flags, environment and config file. */

import { type Command, Option as CommandOption } from "commander";
import { readConfigFile, splitSections } from "./config-file.js";
import { environmentName, flagName } from "./names.js";
import type { OptionTable, Settings } from "./option.js";
import { resolveSettings } from "./settings.js";

/** The end of the help. Its example is an option that the command has. */
const footerOf = (name: string): string => `
Each option can also be set by an environment variable (${environmentName(name)} for --${flagName(name)}), or by a key in the YAML or
JSON file given with --config (${flagName(name)}: ...). Flags override environment variables, which override the file. Commands may
share a file: each reads the keys it knows, and a section named after it (train: ...) overrides them for that command.
Sizes: 1048576, 512M, 2GiB. Times: 500ms, 30s, 5m.`;

/** Adds the options by group, each with its default, and --config. */
export function addOptions(command: Command, table: OptionTable): Command {
  for (const [name, option] of Object.entries(table)) {
    const key = flagName(name);
    const value = option.placeholder === undefined ? "" : ` <${option.placeholder}>`;
    const described = `${option.help} (default: ${option.shown})`;
    const flag = new CommandOption(`--${key}${value}`, described).helpGroup(`${option.group}:`);
    command.addOption(option.repeats ? flag.argParser((one, others: string[] = []) => [...others, one]) : flag);
    // commander reads --no-auth as the opposite of --auth; flagsOf undoes that.
    // The hidden one is in the same group: groups are shown in the order in which their first options were added.
    if (value === "" && !isNegative(name)) {
      command.addOption(new CommandOption(`--no-${key}`).hideHelp().helpGroup(`${option.group}:`));
    }
  }
  return command
    .option(
      "--config <file>",
      "YAML (.yaml, .yml) or JSON file of these options (default: none; environment: LORIKEET_CONFIG)",
    )
    .addHelpText("after", footerOf(Object.keys(table).at(0) ?? ""));
}

type Environment = Readonly<Record<string, string | undefined>>;

/** The settings of a command that `addOptions` prepared. Throws a UsageError. */
export function readOptions<const Table extends OptionTable>(
  command: Command,
  table: Table,
  environment: Environment,
): Settings<Table> {
  return readOptionsAndBases(command, table, environment).settings;
}

/** What a config file lists under `models`, and where. */
export interface FileBases {
  readonly value: unknown;
  readonly filePath: string;
}

/** A key of config files that holds more than one value: no flag has its name. */
const basesKey = "models";

/** The settings, and the bases that the config file lists; null if there is no such list. Throws a UsageError. */
export function readOptionsAndBases<const Table extends OptionTable>(
  command: Command,
  table: Table,
  environment: Environment,
): { readonly settings: Settings<Table>; readonly bases: FileBases | null } {
  const flags = flagsOf(command, table);
  const named = flags.config ?? environment.LORIKEET_CONFIG;
  const filePath = typeof named === "string" && named !== "" ? named : null;
  if (filePath === null) return { settings: resolveSettings(table, { flags, environment, file: {} }), bases: null };
  const root = rootOf(command);
  const sections = commandsWithConfig(root).map(pathOf);
  const { shared, section } = splitSections(readConfigFile(filePath), pathOf(command), sections, filePath);
  const { [basesKey]: value = shared[basesKey], ...own } = section;
  const settings = resolveSettings(table, {
    flags,
    environment,
    file: shared,
    section: own,
    filePath,
    knownKeys: [...optionKeys(root), ...sections, basesKey],
  });
  return { settings, bases: value === undefined ? null : { value, filePath } };
}

const rootOf = (command: Command): Command => (command.parent === null ? command : rootOf(command.parent));

/** The command's words without the program's: `bench train`. */
const pathOf = (command: Command): string =>
  command.parent?.parent ? `${pathOf(command.parent)} ${command.name()}` : command.name();

/** The keys of all options that a command below this one reads from a config file, and from the environment. */
export const optionKeys = (command: Command): string[] =>
  commandsWithConfig(command).flatMap(({ options }) =>
    options.flatMap(({ long, hidden }) => (long && !hidden && long !== "--config" ? [long.slice("--".length)] : [])),
  );

function commandsWithConfig(command: Command): Command[] {
  const own = command.options.some(({ long }) => long === "--config") ? [command] : [];
  return [...own, ...command.commands.flatMap(commandsWithConfig)];
}

/** Values from the command line, by option name. */
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
