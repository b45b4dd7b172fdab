/** The `lorikeet` command and its subcommands. Turns every error into one line and an exit code. */

import { Command, CommanderError } from "commander";
import { optionKeys } from "./options/command-line.js";
import { commonFlag, otherWay } from "./options/common-names.js";
import { strangeVariables } from "./options/environment.js";
import { renamedFlags } from "./options/former-names.js";
import { printLine, type Terminal } from "./terminal.js";
import { describeFault, exitCodeOf, exitCodes, Quit } from "./usage.js";
import { readVersion } from "./version.js";

/** What adds each command. A command's modules take up to a second to load, so one that is not asked for is not loaded. */
const commands = {
  serve: async () => {
    // Node opens all files of an import at once. Two parts keep below a low limit of open files.
    await import("./stack.js");
    return (await import("./serve/serve.js")).addServe;
  },
  generate: async () => (await import("./generate/generate.js")).addGenerate,
  inspect: async () => (await import("./inspect.js")).addInspect,
  adapters: async () => (await import("./adapters/adapters.js")).addAdapters,
  bench: async () => (await import("./bench/bench.js")).addBench,
  train: async () => (await import("./train/train.js")).addTrain,
  eval: async () => (await import("./eval/eval.js")).addEval,
  merge: async () => (await import("./train/merge.js")).addMerge,
  pull: async () => (await import("./hub/pull.js")).addPull,
} satisfies Record<string, () => Promise<(program: Command, terminal: Terminal) => void>>;
type CommandName = keyof typeof commands;
const commandNames = Object.keys(commands) as CommandName[];

/** Runs one command line (without node and script) and returns the exit code. Never throws. */
export async function runProgram(args: readonly string[], terminal: Terminal): Promise<number> {
  const program = await createProgram(terminal, commandsFor(args, terminal.environment));
  await warnOfStrangeVariables(program, terminal);
  try {
    await program.parseAsync([...args], { from: "user" });
    return exitCodes.ok;
  } catch (error) {
    if (error instanceof CommanderError) return endOfParsing(error, commandOf(program, args), args, terminal);
    if (!(error instanceof Quit)) printLine(terminal.stderr, `lorikeet: ${describeFault(error)}`);
    return exitCodeOf(error);
  }
}

/** The commands that must be loaded: the one that is named, unless a config file has options of others too. */
function commandsFor(args: readonly string[], environment: Terminal["environment"]): readonly CommandName[] {
  if (args.length === 1 && args[0] === "--version") return [];
  const named = commandNames.find((name) => name === args[0]);
  const hasFile = args.some((arg) => arg.startsWith("--config")) || environment.LORIKEET_CONFIG !== undefined;
  return named === undefined || hasFile ? commandNames : [named];
}

async function warnOfStrangeVariables(program: Command, { environment, stderr }: Terminal): Promise<void> {
  if (strangeVariables(environment, optionKeys(program)).length === 0) return;
  // A command that is not loaded may read them.
  const { optionTables } = await import("./options/tables.js");
  const names = optionTables.flatMap((table) => Object.keys(table));
  for (const line of strangeVariables(environment, names)) printLine(stderr, `lorikeet: warning: ${line}`);
}

export async function createProgram(
  terminal: Terminal,
  names: readonly CommandName[] = commandNames,
): Promise<Command> {
  const program = new Command("lorikeet")
    .description("Serve one resident base model with many LoRA adapters, which can be swapped while it runs.")
    .version(readVersion())
    .exitOverride()
    .configureHelp({ showGlobalOptions: false })
    .configureOutput({
      writeOut: (text) => void terminal.stdout.write(text),
      writeErr: (text) => void terminal.stderr.write(text),
      // endOfParsing prints it as one line.
      outputError: () => {},
    });
  // One after the other, for the same limit.
  for (const name of names) (await commands[name]())(program, terminal);
  return program;
}

/** The subcommand that the arguments name, and its words. */
function commandOf(program: Command, args: readonly string[]): { command: Command; words: string } {
  const words = [program.name()];
  let command = program;
  for (const arg of args) {
    const next = command.commands.find((other) => other.name() === arg);
    if (!next) break;
    command = next;
    words.push(arg);
  }
  return { command, words: words.join(" ") };
}

/** Help and version exit with 0. Anything else that commander throws is a usage error. */
function endOfParsing(
  error: CommanderError,
  { command, words }: ReturnType<typeof commandOf>,
  args: readonly string[],
  terminal: Terminal,
): number {
  if (error.exitCode === 0) return exitCodes.ok;
  const flags = command.options.flatMap(({ long }) => long ?? []);
  const renamed = renamedFlags(args, flags);
  if (error.code === "commander.unknownOption" && renamed.length > 0) {
    printLine(terminal.stderr, `lorikeet: ${renamed.join(" ")}`);
    return exitCodes.usage;
  }
  if (error.code !== "commander.help") {
    printLine(terminal.stderr, `lorikeet: ${reasonOf(error, flags)} (see ${words} --help)`);
  }
  return exitCodes.usage;
}

/** commander's message in one line, with what was probably meant. */
function reasonOf({ code, message }: CommanderError, flags: readonly string[]): string {
  const [reason = "", ...more] = message.replace(/^error: /, "").split(/\s*\n\s*/);
  const [, name] = /^unknown option '--?(?:no-)?([^=']+)/.exec(reason) ?? [];
  if (code === "commander.unknownOption" && name !== undefined) {
    const names = flags.map((flag) => flag.slice("--".length));
    const meant = commonFlag(name, names);
    if (meant !== null) return `${reason} (Did you mean --${meant}?)`;
    const way = otherWay(name);
    if (way !== null) return `${reason}. ${way}`;
  }
  const hint = code === "commander.excessArguments" ? ["Values belong to options, such as --model <model>."] : [];
  return [reason, ...more, ...hint].join(" ");
}
